"""Points without structure: batched by vmap where networks are small, one after another where they are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.dropout import _DropoutNd
from typing_extensions import override

from zotoolkit.engines.base import (
    Arithmetic,
    Engine,
    Inputs,
    Loss,
    activation_bytes,
    innermost_channels,
    points_that_fit,
    say_once,
    seeded_randomness,
)
from zotoolkit.engines.loop import LoopEngine
from zotoolkit.engines.vmap import VmapEngine
from zotoolkit.errors import InvalidSetting
from zotoolkit.queries import QueryBatch, SeededBatch

# Of one candidate's layers. Measured on one core: vmap was 1.4 to 8 times as fast below 0.9 MiB, the loop 1.1 to 2.2
# times as fast above 1.8 MiB (multi-layer perceptrons, CNNs, a small ResNet, a vision transformer).
_BATCHED_UP_TO_CPU = 1 << 20
_BATCHED_UP_TO_GPU = 16 << 20


class DenseEngine(Engine):
    """The faster of `VmapEngine` and `LoopEngine` for a network and the size of its mini-batch.

    Which one depends on nothing but the bytes of one candidate's activations, so that a run gives the same bits when it
    is resumed; a network that vmap refuses runs in the loop, which the log says once. Layers that drop units while
    training drop the same ones for all candidates of a seed.

    Args:
        module: The network.
        loss: `loss(output, target)` returns one number.
        arithmetic: See `LoopEngine`; "bfloat16" always takes the loop.

    Examples:
        >>> engine = DenseEngine(nn.Linear(2, 1, bias=False), lambda output, target: (output - target).abs().sum())
        >>> engine.dense(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.ones(1, 2), torch.zeros(1, 1)).tolist()
        [1.0, 2.0]
    """

    def __init__(self, module: nn.Module, loss: Loss, *, arithmetic: Arithmetic = "float32") -> None:
        super().__init__(module, loss)
        self._loop = LoopEngine(module, loss, arithmetic=arithmetic)
        draws = any(isinstance(part, _DropoutNd) and part.training for part in module.modules())
        batched = VmapEngine(module, loss, randomness="same" if draws else "error")
        self._batched: Engine | None = batched if arithmetic == "float32" else None
        self._bytes: dict[tuple[torch.Size, ...], int] = {}

    @override
    def dense(self, points: Tensor, inputs: Inputs, target: Any, seed: int = 0) -> Tensor:
        if self._batched is not None and len(points) and self._fits(points[0], inputs, seed):
            try:
                return self._batched.dense(points, inputs, target, seed)
            except InvalidSetting as reason:
                self.scalar_loss(self._output(points[0], inputs, seed), target)  # the loss may be at fault
                self._give_up(reason)
        return self._loop.dense(points, inputs, target, seed)

    @override
    def outputs(self, batch: QueryBatch, inputs: Inputs, seed: int = 0) -> Iterator[Any]:
        if self._batched is not None and len(batch) and self._fits(batch.base, inputs, seed):
            chunks = self._batched.outputs(batch, inputs, seed)
            try:
                first = next(chunks)
            except InvalidSetting as reason:
                self._give_up(reason)
            else:
                yield first
                yield from chunks
                return
        yield from self._loop.outputs(batch, inputs, seed)

    @override
    def seeded(self, batch: SeededBatch, inputs: Inputs, target: Any, seed: int = 0) -> Tensor:
        """Return the `(q,)` losses; points are made a few at a time, and the base point is never written to."""
        parts = [self.dense(part.points(), inputs, target, seed) for part in batch.split(points_that_fit(batch))]
        return torch.cat(parts) if parts else batch.scale.new_empty(0)

    def _give_up(self, reason: InvalidSetting) -> None:
        say_once(f"candidates run one after another: {str(reason).splitlines()[0]}")
        self._batched = None

    def _output(self, point: Tensor, inputs: Inputs, seed: int) -> Any:
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        with torch.no_grad(), seeded_randomness(seed, point.device):
            return functional_call(self.module, self.layout.unflatten(point), arguments)

    def _fits(self, point: Tensor, inputs: Inputs, seed: int) -> bool:
        """Return whether all layers' outputs for one candidate are so small that candidates are batched."""
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        shapes = tuple(argument.shape for argument in arguments)
        if shapes not in self._bytes:
            given = tuple(map(innermost_channels, arguments))
            self._bytes[shapes] = activation_bytes(self.module, lambda: self._output(point, given, seed))
        return self._bytes[shapes] <= (_BATCHED_UP_TO_GPU if point.is_cuda else _BATCHED_UP_TO_CPU)
