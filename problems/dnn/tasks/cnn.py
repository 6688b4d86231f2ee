"""DeepZero's adjustable CNN on image data sets."""

from __future__ import annotations

import torch
from torch import nn

from problems.dnn.networks import deepzero_cnn
from problems.dnn.tasks.images import image_set, train_on_images
from problems.dnn.train_network import TrainNetwork
from zotoolkit.engines.base import Arithmetic


def train_cnn(
    depth: int = 3,
    channels: int = 18,
    dataset: str = "cifar10",
    *,
    folder: str | None = None,
    batch_size: int | None = 256,
    augment: bool = True,
    train_samples: int | None = None,
    test_samples: int | None = None,
    evaluation_samples: int | None = 10_000,
    norm_samples: int = 5_000,
    dtype: str = "float32",
    arithmetic: Arithmetic = "float32",
    device: torch.device | str = "cpu",
) -> TrainNetwork:
    """Layers of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, then average pooling and a linear layer.

    Args:
        depth: Such layers; each halves the image.
        channels: Of every convolution.
        dataset: "cifar10", "cifar100", "mnist", "fashion_mnist" or "digits".
        folder: Where the data files lie; None for the folder that ZOTOOLKIT_DATA names, else "data".
        batch_size: Samples a mini-batch; None for all.
        augment: Shift images by up to an eighth of their size, and mirror them where that keeps the class.
        train_samples: Train on so many samples, equally many of each class; None for all.
        test_samples: Test on so many; None for all.
        evaluation_samples: Training samples that the true loss and the training figures are measured on; None for all.
        norm_samples: Training samples that the statistics of batch norms are re-estimated from before measuring.
        dtype: "float32" or "float64".
        arithmetic: "float32", or "bfloat16" for faster queries with small errors; see `ReplayEngine` and `LoopEngine`.
        device: Where it is trained.

    Raises:
        InvalidSetting: If a setting is out of range.
        DataMissing: If the data files are not there; the message says which to put where.
        DataDamaged: If a file cannot be used; the message names it.
    """
    images = image_set(dataset)

    def network() -> nn.Module:
        return deepzero_cnn(depth, channels, images.classes, images.channels, images.size)

    return train_on_images(
        network,
        f"CNN-{depth}",
        dataset,
        folder=folder,
        batch_size=batch_size,
        augment=augment,
        train_samples=train_samples,
        test_samples=test_samples,
        evaluation_samples=evaluation_samples,
        norm_samples=norm_samples,
        dtype=dtype,
        arithmetic=arithmetic,
        device=device,
    )
