"""First-order training of the small networks of a defense: Adam, a cosine down to no rate at all, seeded batches."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting
from zotoolkit.seeding import check_seed, torch_generator

_ORDER_DRAW, _NOISE_DRAW = 0xDE1, 0xDE2

BatchLoss = Callable[[Tensor, torch.Generator], Tensor]
"""`loss(rows, generator)`: the mean loss of these samples; the generator is for noise, keyed by seed and step."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Args:
        epochs: Passes over the samples.
        batch_size: Samples a step; at most all are taken, and the last batch of an epoch may be smaller.
        lr: Adam's learning rate at the start.
        seed: Of the batches and of noise.

    Raises:
        InvalidSetting: If a setting is out of range.
    """

    epochs: int
    batch_size: int
    lr: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(self.epochs, "epochs")
        check_count(self.batch_size, "batch_size")
        check_positive(self.lr, "lr")
        check_seed(self.seed)


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        loss: Mean over the last epoch.
        seconds: Wall-clock time.
        steps: Of Adam.
    """

    loss: float
    seconds: float
    steps: int


def fit(modules: Iterable[nn.Module], loss: BatchLoss, samples: int, schedule: Schedule, *, progress: str = "") -> Fit:
    """Train modules in place and leave them in evaluation mode.

    The same modules, samples and schedule give the same parameters: nothing is drawn from torch's global generators,
    unless a layer does that itself. The number of threads decides the last digits.

    Args:
        modules: What is trained: those of their parameters that want a gradient.
        loss: Of a batch.
        samples: How many there are.
        schedule: How long and how fast.
        progress: What a progress bar on standard error is called; empty for none.

    Returns:
        The last epoch's loss and what it took.

    Raises:
        InvalidSetting: If training diverges.
    """
    modules = list(modules)
    for module in modules:
        module.train()
    optimizer = torch.optim.Adam([p for module in modules for p in module.parameters() if p.requires_grad], schedule.lr)
    size = min(schedule.batch_size, samples)
    steps = schedule.epochs * math.ceil(samples / size)
    total, step, start = 0.0, 0, time.perf_counter()
    with tqdm(total=steps, desc=progress, unit=" steps", file=sys.stderr, disable=not progress) as bar:
        for epoch in range(schedule.epochs):
            total = 0.0
            order = torch.randperm(samples, generator=torch_generator(schedule.seed, _ORDER_DRAW, epoch))
            for rows in order.split(size):
                optimizer.param_groups[0]["lr"] = schedule.lr * (1 + math.cos(math.pi * step / steps)) / 2
                value = loss(rows, torch_generator(schedule.seed, _NOISE_DRAW, step))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                total += float(value.detach()) * len(rows)
                step += 1
                bar.update()
            if not math.isfinite(total):
                raise InvalidSetting(
                    f"training diverged: the loss is {total / samples:g} in epoch {epoch + 1} with "
                    f"lr={schedule.lr:g}; choose a smaller lr."
                )
            bar.set_postfix_str(f"loss {total / samples:.4g}")
    for module in modules:
        module.eval()
    return Fit(total / samples, time.perf_counter() - start, steps)
