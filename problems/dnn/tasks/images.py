"""What all objectives on image data sets share: settings checked before data are read, then one `TrainNetwork`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from problems.dnn.data.augment import CropFlip
from problems.dnn.data.image_sets import IMAGE_SETS, ImageSet
from problems.dnn.tasks.dtypes import dtype_named
from problems.dnn.train_network import TrainNetwork
from zotoolkit.checks import check_choice, check_count, check_device
from zotoolkit.engines import ReplayEngine
from zotoolkit.engines.base import ARITHMETICS, Arithmetic
from zotoolkit.errors import InvalidSetting, brief


def image_set(dataset: str) -> ImageSet:
    """Return what is known of a data set.

    Raises:
        InvalidSetting: If there is none of this name.
    """
    return IMAGE_SETS[check_choice(dataset, tuple(IMAGE_SETS), "dataset")]


def train_on_images(
    network: Callable[[], nn.Module],
    title: str,
    dataset: str,
    *,
    folder: str | Path | None,
    batch_size: int | None,
    augment: bool,
    train_samples: int | None,
    test_samples: int | None,
    evaluation_samples: int | None,
    norm_samples: int = 5_000,
    dtype: str,
    arithmetic: Arithmetic,
    device: torch.device | str,
) -> TrainNetwork:
    """Return the objective; see `problems.dnn.train_resnet` for the settings.

    Args:
        network: Builds the network in float32.
        title: The network's name, for reports.
        dataset: A name in `IMAGE_SETS`.
        folder: As in `train_resnet`, like all that follow.
        batch_size: Samples a mini-batch.
        augment: Whether images are shifted and mirrored.
        train_samples: How many to train on.
        test_samples: How many to test on.
        evaluation_samples: How many training samples are measured.
        norm_samples: How many the statistics of batch norms are re-estimated from.
        dtype: Of the parameters.
        arithmetic: Of the engine.
        device: Where it is trained.

    Raises:
        InvalidSetting: If a setting is out of range; before data are read, as far as they are not needed to tell.
        DataMissing: If the data are not there.
        DataDamaged: If a file cannot be used.
    """
    images = image_set(dataset)
    kind = dtype_named(dtype)
    check_choice(arithmetic, ARITHMETICS, "arithmetic")
    device = check_device(device)
    counts = {"train_samples": train_samples, "test_samples": test_samples, "evaluation_samples": evaluation_samples}
    for name, value in {**counts, "batch_size": batch_size, "norm_samples": norm_samples}.items():
        if value is not None:
            check_count(value, name)
    if batch_size is not None and train_samples is not None and batch_size > train_samples:
        raise InvalidSetting(f"batch_size must be at most train_samples={train_samples}, got {batch_size}.")
    if not isinstance(augment, bool):
        raise InvalidSetting(f"augment must be true or false, got {brief(augment)}.")
    with torch.device("meta"):  # checks the network's own settings; draws and allocates nothing
        network()
    data = images.load(folder).subset(train_samples, test_samples)
    if data.train_inputs.is_floating_point():
        data = data.to("cpu", kind)
    return TrainNetwork(
        lambda: network().to(kind),
        data,
        batch_size=batch_size,
        engine=functools.partial(ReplayEngine, arithmetic=arithmetic),
        augment=CropFlip(padding=images.size // 8, flip=images.mirrored) if augment else None,
        evaluation_samples=evaluation_samples,
        norm_samples=norm_samples,
        device=device,
        name=f"{title} on {images.title}",
    )
