"""The plainest engine: one forward pass after another. The reference for all others, and it runs any module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map
from typing_extensions import override

from zotoolkit.checks import check_choice
from zotoolkit.engines.base import (
    ARITHMETICS,
    Arithmetic,
    Engine,
    Inputs,
    Loss,
    innermost_channels,
    points_that_fit,
    rows_that_fit,
    seeded_randomness,
)
from zotoolkit.queries import QueryBatch


class LoopEngine(Engine):
    """A Python loop of `torch.func.functional_call` over the candidates.

    Works for modules that vmap cannot batch: data-dependent branches, in-place tricks, custom kernels. Random layers
    draw the same numbers for every candidate of a seed. Images are laid out with the channels innermost in memory,
    which made a ResNet-20 1.5 times as fast on a CPU.

    Args:
        module: The network.
        loss: `loss(output, target)` returns one number.
        arithmetic: "float32", or "bfloat16" to run the network under torch's autocast: about twice as fast where the
            processor has instructions for it. A loss then has three digits, which is enough for random directions,
            whose own variance is far larger, and not for single coordinates. Float64 networks stay in float64.

    Examples:
        >>> engine = LoopEngine(torch.nn.Linear(2, 1, bias=False), lambda output, target: (output - target).abs().sum())
        >>> engine.dense(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.ones(1, 2), torch.zeros(1, 1)).tolist()
        [1.0, 2.0]
    """

    def __init__(self, module: nn.Module, loss: Loss, *, arithmetic: Arithmetic = "float32") -> None:
        super().__init__(module, loss)
        check_choice(arithmetic, ARITHMETICS, "arithmetic")
        self._narrow = arithmetic == "bfloat16" and self.layout.dtype == torch.float32

    @override
    def dense(self, points: Tensor, inputs: Inputs, target: Any, seed: int = 0) -> Tensor:
        losses = self._each(points, inputs, seed, lambda output: self.scalar_loss(output, target))
        return torch.stack(losses) if losses else points.new_empty(0)

    @override
    def outputs(self, batch: QueryBatch, inputs: Inputs, seed: int = 0) -> Iterator[Any]:
        start, size = 0, 1
        while start < len(batch):
            found = self._each(batch[start : start + size].points(), inputs, seed, lambda output: output)
            start += len(found)
            size = min(rows_that_fit(found[0]), points_that_fit(batch))
            yield tree_map(lambda *rows: torch.stack(rows), *found)

    def _each(self, points: Tensor, inputs: Inputs, seed: int, read: Callable[[Any], Any]) -> list[Any]:
        """Return what is read of each candidate's output."""
        arguments = tuple(map(innermost_channels, inputs if isinstance(inputs, tuple) else (inputs,)))
        cast = torch.autocast(points.device.type, torch.bfloat16) if self._narrow else nullcontext()
        found: list[Any] = []
        with torch.no_grad(), seeded_randomness(seed, points.device):
            for point in points:
                torch.random.manual_seed(seed)
                with cast:
                    output = functional_call(self.module, self.layout.unflatten(point), arguments)
                found.append(read(tree_map(_widened, output) if self._narrow else output))
        return found


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
