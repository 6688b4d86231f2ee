"""A small convolutional network, for images such as digits."""

from __future__ import annotations

import functools
from dataclasses import asdict

import torch
from torch import nn
from torch.nn import functional

from problems.defense.classifiers.fixed import FixedClassifier, frozen, measured
from problems.defense.fitting import Schedule, fit
from problems.defense.images import DefenseImages
from problems.dnn.networks import two_convolutions
from zotoolkit.artifacts import State, architecture, kept
from zotoolkit.checks import check_count
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import InvalidSetting
from zotoolkit.seeding import check_seed, derive_seed

_INIT_DRAW = 0xDE6
_VERSION = 1  # of the training below: another one leaves former networks in the cache alone


def small_cnn(
    images: DefenseImages,
    seed: int = 0,
    *,
    channels: int = 8,
    epochs: int = 60,
    batch_size: int = 64,
    lr: float = 3e-3,
    cache: bool = True,
) -> FixedClassifier[nn.Module]:
    """Train a network of two convolutions on clean images, or read it from the cache.

    On digits it has 1,898 parameters. Adam with a cosine; see `problems.dnn.networks.two_convolutions`.

    Args:
        images: To train and test on; square.
        seed: Of its initialisation and mini-batches.
        channels: Of the first convolution; the second has twice as many.
        epochs: Passes over the training images.
        batch_size: Images a step.
        lr: Learning rate at the start.
        cache: Whether it may come from the cache and is kept there; see `zotoolkit.artifacts`.

    Raises:
        InvalidSetting: If a setting is out of range, or images are not square.

    Examples:
        >>> network = small_cnn(DefenseImages.digits(), epochs=10, cache=False)
        >>> network.facts.accuracy > 0.8, network.model.training
        (True, False)
    """
    schedule = Schedule(epochs, batch_size, lr, check_seed(seed))
    _, height, width = images.shape
    if height != width:
        raise InvalidSetting(f"images must be square for this network, got {height} x {width} pixels.")
    return _trained(images, check_count(channels, "channels"), schedule, cache)


@functools.lru_cache(maxsize=8)
def _trained(images: DefenseImages, channels: int, schedule: Schedule, cache: bool) -> FixedClassifier[nn.Module]:
    with seeded_randomness(derive_seed(schedule.seed, _INIT_DRAW), torch.device("cpu")):
        network = two_convolutions(channels, images.classes, images.shape[0], images.shape[1])
    settings = {**asdict(schedule), "channels": channels}

    def make() -> State:
        def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
            return functional.cross_entropy(network(images.train[rows]), images.train_labels[rows])

        done = fit([network], loss, len(images.train), schedule)
        return {"network": network.state_dict(), "seconds": done.seconds}

    layers = architecture(network)
    key = {"version": _VERSION, "images": images.train_fingerprint, "settings": settings, "layers": layers}
    state, found = kept("defense", "small-cnn", key if cache and layers is not None else None, make)
    network.load_state_dict(state["network"])
    seconds = 0.0 if found else state["seconds"]
    facts = measured(frozen(network), images, "small CNN", settings=settings, seconds=seconds, cached=found)
    return FixedClassifier(network, facts)
