"""Perceptrons on image data sets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from problems.dnn.networks import mlp
from problems.dnn.tasks.images import image_set, train_on_images
from problems.dnn.train_network import TrainNetwork
from zotoolkit.engines.base import Arithmetic


def train_mlp(
    hidden: int | Sequence[int] = 32,
    activation: str = "relu",
    dataset: str = "mnist",
    *,
    folder: str | None = None,
    batch_size: int | None = 256,
    augment: bool = False,
    train_samples: int | None = None,
    test_samples: int | None = None,
    evaluation_samples: int | None = 10_000,
    dtype: str = "float32",
    arithmetic: Arithmetic = "float32",
    device: torch.device | str = "cpu",
) -> TrainNetwork:
    """A multi-layer perceptron on the pixels of an image.

    Args:
        hidden: Units of the hidden layer, or of each of several.
        activation: "relu", "leaky_relu", "gelu", "tanh" or "sigmoid".
        dataset: "cifar10", "cifar100", "mnist", "fashion_mnist" or "digits".
        folder: Where the data files lie; None for the folder that ZOTOOLKIT_DATA names, else "data".
        batch_size: Samples a mini-batch; None for all.
        augment: Shift images by up to an eighth of their size, and mirror them where that keeps the class.
        train_samples: Train on so many samples, equally many of each class; None for all.
        test_samples: Test on so many; None for all.
        evaluation_samples: Training samples that the true loss and the training figures are measured on; None for all.
        dtype: "float32" or "float64".
        arithmetic: "float32", or "bfloat16" for faster queries with small errors; see `ReplayEngine` and `LoopEngine`.
        device: Where it is trained.

    Raises:
        InvalidSetting: If a setting is out of range.
        DataMissing: If the data files are not there; the message says which to put where.
        DataDamaged: If a file cannot be used; the message names it.
    """
    images = image_set(dataset)
    pixels = images.channels * images.size**2

    def network() -> nn.Module:
        return mlp(pixels, hidden, images.classes, activation)

    return train_on_images(
        network,
        "MLP",
        dataset,
        folder=folder,
        batch_size=batch_size,
        augment=augment,
        train_samples=train_samples,
        test_samples=test_samples,
        evaluation_samples=evaluation_samples,
        dtype=dtype,
        arithmetic=arithmetic,
        device=device,
    )
