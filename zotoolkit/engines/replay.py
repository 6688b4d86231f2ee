"""The replay engine: coordinate batches of a network by what each weight changes, and nothing else.

The network is traced into operations. On a base point and a mini-batch each operation runs once and its value is kept.
A candidate, one weight perturbed, starts at the operation that holds its weight. Its *difference* to the kept values
travels on: exactly through linear operations, in closed form through ReLU and normalisations, along a single channel
for as long as only one changes, and into a cancellation-free difference of losses. Low precision then costs its own
rounding alone, and mu may be tiny.

Source: Chen et al., DeepZero, ICLR 2024, section 5, reuses features at the granularity of blocks; here it is an
operation, and differences in place of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.engines.base import ARITHMETICS, Arithmetic, Engine, Inputs, Loss, rows_that_fit, say_once
from zotoolkit.engines.dense import DenseEngine
from zotoolkit.engines.graph import Graph
from zotoolkit.engines.losses import LossDifference
from zotoolkit.engines.operations import Untraceable
from zotoolkit.engines.reading import OutputReading, Reading
from zotoolkit.engines.recording import Recording, same_value
from zotoolkit.errors import InvalidSetting
from zotoolkit.queries import CoordinateBatch, QueryBatch

_TOLERANCE = 1e-3


class ReplayEngine(Engine):
    """Coordinate batches by difference propagation; all else by another engine.

    Args:
        module: The network.
        loss: `loss(output, target)` returns one number.
        arithmetic: What differences of a float32 network are stored in and its convolutions run in: "float32", or
            "bfloat16", about twice as fast where the processor has instructions for it, for about 0.6 % of relative
            error in a gradient. A float64 network is computed in float64.
        fused: Whether torch.compile joins the element-wise passes; "auto" does so for networks so large that it pays.
        general: Called with the network and the loss, makes the engine for points without structure, and for networks
            that torch.fx cannot trace; then the log says why, once. None for a DenseEngine of the same arithmetic.
        chunk_bytes: Size of one operation's differences over all candidates that run together; None for 6 MiB on a
            CPU, near its cache, and 512 MiB on a GPU. Halved whenever memory runs out.

    Attributes:
        traced: Whether coordinate batches are answered by replay.

    Raises:
        InvalidSetting: If an argument cannot be used.

    Examples:
        >>> from zotoolkit import CoordinateBatch
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> engine = ReplayEngine(layer, lambda output, target: (output - target).abs().sum())
        >>> batch = CoordinateBatch(base=torch.zeros(2), scale=torch.tensor([0.5, 0.0]), index=torch.tensor([1, 0]))
        >>> engine.coordinates(batch, torch.ones(1, 2), torch.zeros(1, 1)).tolist()
        [0.5, 0.0]
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        *,
        arithmetic: Arithmetic = "float32",
        fused: bool | Literal["auto"] = "auto",
        general: Callable[[nn.Module, Loss], Engine] | None = None,
        chunk_bytes: int | None = None,
    ) -> None:
        super().__init__(module, loss)
        check_choice(arithmetic, ARITHMETICS, "arithmetic")
        if fused not in (True, False, "auto"):
            raise InvalidSetting(f"fused must be True, False or 'auto', got {fused!r}.")
        self.general = DenseEngine(module, loss, arithmetic=arithmetic) if general is None else general(module, loss)
        self._dtype = torch.float64 if self.layout.dtype == torch.float64 else getattr(torch, arithmetic)
        self._fused = fused
        self._chunk_bytes = None if chunk_bytes is None else check_count(chunk_bytes, "chunk_bytes")
        self._base: Recording | None = None
        self._reading: LossDifference | None = None
        self._verified = False
        self._graph: Graph | None = None
        try:
            self._graph = Graph.of(self.module, self.layout)
            self.streams = True
        except Untraceable as reason:
            self._give_up(str(reason))

    @property
    def traced(self) -> bool:
        """Whether coordinate batches are answered by replay."""
        return self._graph is not None

    @override
    def dense(self, points: Tensor, inputs: Inputs, target: Any, seed: int = 0) -> Tensor:
        return self.general.dense(points, inputs, target, seed)

    @override
    def seeded(self, batch: Any, inputs: Inputs, target: Any, seed: int = 0) -> Tensor | None:
        return self.general.seeded(batch, inputs, target, seed)

    @override
    def coordinates(self, batch: CoordinateBatch, inputs: Inputs, target: Any, seed: int = 0) -> Tensor | None:
        """Return the `(q,)` float64 losses: the base point's plus each candidate's exact difference."""
        base = self._at(batch.base, inputs)
        if base is None:
            return self.general.coordinates(batch, inputs, target, seed)
        with torch.no_grad():
            (losses,) = self._read(base, batch, self._loss_reading(base, target))
        return losses

    @override
    def outputs(self, batch: QueryBatch, inputs: Inputs, seed: int = 0) -> Iterator[Any]:
        """Yield the outputs of consecutive queries: the base point's plus each candidate's change."""
        if not isinstance(batch, CoordinateBatch) or (base := self._at(batch.base, inputs)) is None:
            yield from self.general.outputs(batch, inputs, seed)
            return
        reading = OutputReading(base.output)
        for part in batch.split(rows_that_fit(base.output)):
            with torch.no_grad():
                values = reading.structured(self._read(base, part, reading))
            yield values

    def _read(self, base: Recording, batch: CoordinateBatch, reading: Reading) -> list[Tensor]:
        """Return `(q, ...)` values, replaying the queries parameter by parameter."""
        values = reading.start(len(batch))
        moved = (batch.scale != 0).nonzero().flatten()
        slots = self.layout.slot_of(batch.index[moved])
        for slot in torch.unique(slots).tolist():
            rows = moved[slots == slot]
            place = self.layout.slots[slot]
            entries = batch.index[rows] - place.start
            order = torch.argsort(entries)  # candidates of one channel side by side
            differences = base.replayed(place.name, entries[order], batch.scale[rows[order]], reading)
            for whole, difference in zip(values, differences, strict=True):
                whole.index_add_(0, rows[order], difference)
        return values

    @override
    def costs(self, batch: QueryBatch) -> dict[str, float]:
        if self._base is None or not isinstance(batch, CoordinateBatch) or not len(batch):
            return super().costs(batch)
        shares = torch.tensor(self.slot_costs(), dtype=torch.float64)
        slots = self.layout.slot_of(batch.index.cpu())
        still = batch.scale.cpu() == 0
        return {"forward_equivalents": float(torch.where(still, 1.0, shares[slots]).sum())}

    def slot_costs(self) -> list[float]:
        """Return what a query on one weight of each parameter costs, in forward passes; 1 before the first batch."""
        if self._base is None:
            return [1.0] * len(self.layout.slots)
        return self._base.slot_costs([slot.name for slot in self.layout.slots])

    def _at(self, point: Tensor, inputs: Inputs) -> Recording | None:
        """Return the kept values at a point on a mini-batch, None where the network cannot be replayed."""
        if self._graph is None:
            return None
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        if self._base is not None and self._base.belongs_to(point, arguments):
            return self._base
        self._base = self._reading = None  # their memory is wanted
        with torch.no_grad():
            parameters = self.layout.unflatten(point)
            try:
                self._base = Recording(
                    self._graph,
                    self.module,
                    point,
                    parameters,
                    arguments,
                    self._dtype,
                    self._fused,
                    self._chunk_bytes,
                )
                if not self._verified:
                    self._verify(self._base, parameters, arguments)
            except Untraceable as reason:
                self._base = None
                self._give_up(str(reason))
        return self._base

    def _loss_reading(self, base: Recording, target: Any) -> LossDifference:
        """Return what reads losses off the kept values."""
        if self._reading is None or not same_value(self._reading.target, target):
            self.scalar_loss(base.output, target)
            self._reading = LossDifference(self.loss, base.output, target)
        return self._reading

    def _verify(self, base: Recording, parameters: dict[str, Tensor], arguments: tuple[Tensor, ...]) -> None:
        """Compare the traced network's first output with the network's own."""
        own = torch.func.functional_call(self.module, parameters, arguments)
        for mine, theirs in zip(pytree.tree_leaves(base.output), pytree.tree_leaves(own), strict=True):
            scale = theirs.abs().max().clamp(min=1e-6)
            if not bool(((mine - theirs).abs() <= _TOLERANCE * scale).all() | ~torch.isfinite(theirs).all()):
                raise Untraceable("the traced network returns something else than the network itself.")
        self._verified = True

    def _give_up(self, reason: str) -> None:
        self._graph = None
        name = type(self.module).__name__
        say_once(
            f"coordinate batches of {name} run in {type(self.general).__name__}, without replay: {reason.rstrip('.')}"
        )
