"""What these tests share: a small network, a classifier that misbehaves as told, and a clock that they move."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zotoolkit.query_models import Clock, QueryModel

SHAPE = (1, 4, 4)
CLASSES = 5


class FakeClock(Clock):
    """Time passes only by waiting."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, stop: threading.Event) -> None:
        if seconds > 0:
            self.waits.append(seconds)
            self.time += seconds


class Scripted(QueryModel):
    """Answers as the image says, its first pixel being the label, unless the script of this call says otherwise.

    Args:
        script: Given the number of the call, from 0, and its images, returns an answer or None for the true one, or
            raises.
    """

    def __init__(self, script: Callable[[int, Tensor], object] | None = None, **settings: Any) -> None:
        super().__init__(**({"access": "label", "classes": CLASSES, "input": (2,)} | settings))
        self.script = script
        self.seen: list[list[int]] = []

    def evaluate(self, images: Tensor) -> object:
        call = len(self.seen)
        self.seen.append(images[:, 0].long().tolist())
        answer = None if self.script is None else self.script(call, images)
        return self.truth(images) if answer is None else answer

    def truth(self, images: Tensor) -> Tensor:
        labels = images[:, 0].long() % CLASSES
        return labels if self.access == "label" else torch.eye(CLASSES)[labels]


def numbered(count: int) -> Tensor:
    """Return `(count, 2)` images whose first pixels are their numbers."""
    return torch.stack((torch.arange(count), torch.zeros(count)), dim=1).float()


def network() -> nn.Module:
    """A network with everything that could go wrong: batch norm, dropout, an in-place first layer."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.ReLU(inplace=True),
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(12, CLASSES),
    )
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim > 1:  # without a mean, so that no class wins throughout
                weights = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(weights - weights.flatten(1).mean(dim=1).view(-1, *[1] * (parameter.ndim - 1)))
    return module.train()


def export(module: nn.Module, path: Path, batch: int | None = None) -> Path:
    """Write the module as an ONNX graph, of a fixed batch size if one is given."""
    axes = None if batch else {"images": {0: "batch"}, "scores": {0: "batch"}}
    images = torch.zeros(batch or 2, *SHAPE)
    module = copy.deepcopy(module).eval()
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False  # graphs have no such thing
    with warnings.catch_warnings():  # the newer exporter needs a package more
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (images,),
            str(path),
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes=axes,
            dynamo=False,
        )
    return path
