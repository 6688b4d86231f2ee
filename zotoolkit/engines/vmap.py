"""The general engine: `torch.func.vmap` over the candidates.

Each operation of the network runs once for a whole chunk of candidates, whatever the module; inputs, buffers and frozen
parameters are shared, not copied. Chunks are small enough that their activations stay near a CPU's cache, or large
enough to fill a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.engines.base import Engine, Inputs, Loss, activation_bytes, points_that_fit, seeded_randomness
from zotoolkit.engines.rewrites import BatchFriendly
from zotoolkit.errors import InvalidSetting
from zotoolkit.queries import QueryBatch

# A batched pass costs about as much as so many plain ones before its first candidate.
_FEW = 3
_CHUNK_BYTES_CPU = 8 << 20
_CHUNK_BYTES_GPU = 1 << 30


class VmapEngine(Engine):
    """Any module, any loss, all candidates of a chunk in one pass.

    Args:
        module: The network.
        loss: `loss(output, target)` returns one number for one candidate; it is batched with the network.
        randomness: What layers that draw random numbers while training, such as dropout, do: "error" refuses them,
            "same" lets all candidates that share a seed drop the same units, so that differences between them mean
            something.
        chunk: Candidates in one pass; None chooses by the memory that parameters and activations take.
        rewrites: Whether to use kernels that batch better, see `zotoolkit.engines.rewrites`.

    Raises:
        InvalidSetting: If an argument cannot be used, or, when asked, if vmap cannot batch the module.

    Examples:
        >>> engine = VmapEngine(nn.Linear(2, 1, bias=False), lambda output, target: (output - target).abs().sum())
        >>> engine.dense(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.ones(1, 2), torch.zeros(1, 1)).tolist()
        [1.0, 2.0]
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        *,
        randomness: Literal["error", "same"] = "error",
        chunk: int | None = None,
        rewrites: bool = True,
    ) -> None:
        super().__init__(module, loss)
        self._randomness = check_choice(randomness, ("error", "same"), "randomness")
        self._chunk = None if chunk is None else check_count(chunk, "chunk")
        self._rewrites = rewrites
        self._activation_bytes: dict[tuple[torch.Size, ...], int] = {}

    @override
    def dense(self, points: Tensor, inputs: Inputs, target: Any, seed: int = 0) -> Tensor:
        if not len(points):
            return points.new_empty(0)
        return torch.cat(list(self._mapped(points, inputs, seed, lambda output: self.scalar_loss(output, target))))

    @override
    def outputs(self, batch: QueryBatch, inputs: Inputs, seed: int = 0) -> Iterator[Any]:
        for part in batch.split(points_that_fit(batch)):
            yield from self._mapped(part.points(), inputs, seed, lambda output: output)

    def _mapped(self, points: Tensor, inputs: Inputs, seed: int, read: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield what is read of the outputs, a chunk of candidates at a time."""
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)

        def one(parameters: dict[str, Tensor]) -> Any:
            return read(functional_call(self.module, parameters, arguments))

        batched = vmap(one, randomness=self._randomness)

        def answer(part: Tensor) -> Any:
            with torch.no_grad(), self._context(seed, part.device):
                # Random layers fill their masks in memory order, which batching may change: those always run batched.
                if len(part) <= _FEW and self._randomness == "error":
                    rows = [one(self.layout.unflatten(point)) for point in part]
                    return tree_map(lambda *values: torch.stack(values), *rows)
                return self._guarded(batched, self.layout.unflatten(part))

        with torch.no_grad():
            size = self._candidates(points, arguments, batched)
        for part in points.split(size):
            yield answer(part)

    @contextmanager
    def _context(self, seed: int, device: torch.device) -> Iterator[None]:
        """Set what a pass runs under: random draws of the seed, and kernels that batch well."""
        draws = seeded_randomness(seed, device) if self._randomness == "same" else nullcontext()
        with draws, BatchFriendly() if self._rewrites else nullcontext():
            yield

    def _guarded(self, batched: Any, parameters: dict[str, Tensor]) -> Any:
        """Call the batched network; say in a sentence what vmap has against the module.

        Raises:
            InvalidSetting: If vmap refuses.
        """
        try:
            return batched(parameters)
        except RuntimeError as error:
            text = str(error)
            if "randomness" in text and self._randomness == "error":
                raise InvalidSetting(
                    "the network draws random numbers in its forward pass (dropout in training mode?); call "
                    "module.eval(), or pass randomness='same' so that all candidates share each draw."
                ) from error
            if "vmap" in text:
                reason = text.strip().splitlines()[0]
                raise InvalidSetting(
                    f"torch.func.vmap cannot batch {type(self.module).__name__}: {reason} LoopEngine runs any module."
                ) from error
            raise

    def _candidates(self, points: Tensor, arguments: tuple[Tensor, ...], batched: Any) -> int:
        """Return how many candidates run in one pass."""
        shapes = tuple(argument.shape for argument in arguments)
        if shapes not in self._activation_bytes:
            self._activation_bytes[shapes] = self._measure(points[:1], batched)
        if self._chunk is not None:
            return self._chunk
        each = self._activation_bytes[shapes] + points.shape[1] * points.element_size()
        return max(1, (_CHUNK_BYTES_GPU if points.is_cuda else _CHUNK_BYTES_CPU) // each)

    def _measure(self, point: Tensor, batched: Any) -> int:
        """Return the bytes of all layers' outputs in one candidate's pass.

        The pass is batched, so that a network that vmap refuses is refused however few candidates are asked for.
        """

        def run() -> None:
            with self._context(0, point.device):
                self._guarded(batched, self.layout.unflatten(point))

        return activation_bytes(self.module, run)
