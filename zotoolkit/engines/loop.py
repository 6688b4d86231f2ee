"""The plainest engine: one forward pass after another. The reference for all others, and it runs any module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from typing_extensions import override

from zotoolkit.engines.base import Engine, Inputs, seeded_randomness


class LoopEngine(Engine):
    """A Python loop of `torch.func.functional_call` over the candidates.

    Works for modules that vmap cannot batch: data-dependent branches, in-place tricks, custom kernels. Random layers
    draw the same numbers for every candidate of a seed.

    Args:
        module: The network.
        loss: `loss(output, target)` returns one number.

    Example:
        >>> engine = LoopEngine(torch.nn.Linear(2, 1, bias=False), lambda output, target: (output - target).abs().sum())
        >>> engine.dense(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.ones(1, 2), torch.zeros(1, 1)).tolist()
        [1.0, 2.0]
    """

    @override
    def dense(self, points: Tensor, inputs: Inputs, target: Any, seed: int = 0) -> Tensor:
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        losses: list[Tensor] = []
        with torch.no_grad(), seeded_randomness(seed, points.device):
            for point in points:
                torch.random.manual_seed(seed)
                output = functional_call(self.module, self.layout.unflatten(point), arguments)
                losses.append(self.scalar_loss(output, target))
        return torch.stack(losses) if losses else points.new_empty(0)
