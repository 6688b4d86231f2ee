"""A network's values at one point on one mini-batch, and the replay of candidates from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from zotoolkit.engines.base import innermost_channels
from zotoolkit.engines.change import Change
from zotoolkit.engines.graph import Graph, Step, state_of
from zotoolkit.engines.kernels import Kernels
from zotoolkit.engines.reading import Reading, joined
from zotoolkit.engines.rules import Generic, Memory

_CHUNK_BYTES_CPU = 6 << 20
_CHUNK_BYTES_GPU = 512 << 20
# Compiling takes seconds: it pays where an iteration takes minutes without.
_FUSE_FROM = 10**10


class Recording:
    """The network's values at one point on one mini-batch, and the replay from them.

    Args:
        graph: The network's operations.
        module: The network, for its buffers and frozen parameters.
        point: `(d,)` base point.
        parameters: The same by name.
        arguments: What the network takes.
        dtype: What differences are stored in.
        fused: Whether element-wise passes are compiled, or "auto".
        chunk_bytes: Size of one operation's differences over all candidates that run together; None for the default.

    Attributes:
        output: The network's output.
    """

    def __init__(
        self,
        graph: Graph,
        module: nn.Module,
        point: Tensor,
        parameters: dict[str, Tensor],
        arguments: tuple[Tensor, ...],
        dtype: torch.dtype,
        fused: bool | str,
        chunk_bytes: int | None,
    ) -> None:
        self._graph = graph
        self._point, self._arguments = point.clone(), arguments
        self._dtype = dtype
        self._chunk_bytes = chunk_bytes or (_CHUNK_BYTES_GPU if point.is_cuda else _CHUNK_BYTES_CPU)
        weights = state_of(module, parameters)
        given = [innermost_channels(value) for value in arguments]
        values: dict[int, Any] = {-1 - i: value for i, value in enumerate(given)}
        self._memories: dict[int, Memory] = {}
        if not point.is_cuda:
            _keep_freed_memory()
        for position, step in enumerate(graph.steps):
            if step is None:
                continue
            inputs = tuple(values[source] for source in step.sources)
            values[position] = step.rule.forward(inputs, weights)
        elements = sum(value.numel() for value in values.values() if isinstance(value, Tensor))
        kernels = Kernels(elements * len(point) >= _FUSE_FROM if fused == "auto" else bool(fused))
        for position, step in enumerate(graph.steps):
            if step is not None:
                inputs = tuple(values[source] for source in step.sources)
                disposable = graph.disposable(position)
                value = values[position]
                self._memories[position] = Memory(inputs, value, weights, self._dtype, kernels, disposable, {})
        self.output = pytree.tree_map(lambda place: values[place], graph.outputs)

    def belongs_to(self, point: Tensor, arguments: tuple[Tensor, ...]) -> bool:
        """Return whether the values are those of this point and these inputs."""
        if not same_value(self._point, point) or len(arguments) != len(self._arguments):
            return False
        return all(map(same_value, self._arguments, arguments))

    def replayed(self, name: str, index: Tensor, scale: Tensor, reading: Reading) -> list[Tensor]:
        """Perturb single entries of one parameter.

        Args:
            name: Of the parameter.
            index: `(P,)` int64 entries in the flattened parameter, P at least 1.
            scale: `(P,)` what is added to them.
            reading: What to take from the output's changes.

        Returns:
            What the reading makes of them, P rows.
        """
        owners = self._graph.owners.get(name, ())
        if not owners:  # a parameter that the network does not use
            return reading.of([None] * len(pytree.tree_leaves(self._graph.outputs)), len(index))
        first = owners[0][0]
        path = sorted({at for place, _ in owners for at in (place, *self._graph.following(place))})
        parts: list[list[Tensor]] = []
        start = 0
        while start < len(index):
            size = self._together(first)
            rows = slice(start, start + size)
            try:
                parts.append(self._replay(path, dict(owners), index[rows], scale[rows], reading))
            except (torch.OutOfMemoryError, MemoryError):
                if size == 1 and self._chunk_bytes < 1 << 10:
                    raise
                self._chunk_bytes //= 2
                continue
            start += size
        return joined(parts)

    def _together(self, first: int) -> int:
        """Return how many candidates start together: as many as fit while they change one channel."""
        memory = self._memories[first]
        output = memory.output
        if not isinstance(output, Tensor) or output.ndim < 2:
            return 1
        step = self._step(first)
        axis = 1 if output.ndim > 2 and not isinstance(step.rule, Generic) else -1
        narrow = output.numel() // max(1, output.shape[axis]) if step.rule.begins_narrow else output.numel()
        return max(1, self._chunk_bytes // max(1, 8 * narrow * output.element_size()))

    def _replay(self, path: list[int], owners: dict[int, str], index: Tensor, scale: Tensor, reading: Reading) -> Any:
        """Start P candidates and follow them to the output."""
        return self._follow(path, 0, owners, index, scale, reading, {}, len(index))

    def _follow(
        self,
        path: list[int],
        begun: int,
        owners: dict[int, str],
        index: Tensor,
        scale: Tensor,
        reading: Reading,
        changes: dict[int, Any],
        count: int,
    ) -> list[Tensor]:
        for at in range(begun, len(path)):
            position = path[at]
            step = self._step(position)
            memory = self._memories[position]
            given = [changes.get(source) for source in step.sources]
            own = owners.get(position)
            if own is None and all(_nothing(change) for change in given):
                continue
            fitting = self._fitting(step, memory, given, own)
            if fitting < count:
                pieces: list[list[Tensor]] = []
                for begin in range(0, count, fitting):
                    rows = slice(begin, min(begin + fitting, count))
                    part = {place: _rows(change, rows) for place, change in changes.items()}
                    pieces.append(
                        self._follow(path, at, owners, index[rows], scale[rows], reading, part, rows.stop - rows.start)
                    )
                return joined(pieces)
            changes[position] = self._moved(step, memory, given, own, index, scale, len(owners))
            self._forget(changes, path, at)
        return reading.of([changes.get(place) for place in pytree.tree_leaves(self._graph.outputs)], count)

    def _moved(
        self, step: Step, memory: Memory, given: list[Any], own: str | None, index: Tensor, scale: Tensor, owners: int
    ) -> Any:
        if own is None:
            return step.rule.propagate(memory, given)
        if all(_nothing(change) for change in given):
            begun = step.rule.begin(memory, own, index, scale)
            if begun is not None:
                return begun
        # A parameter that is used twice, or a way of use without a rule of its own.
        name = step.rule.parameters[own]
        generic = Generic(lambda weights, inputs: step.rule.forward(inputs, weights), {own: name}, step.rule.used)
        return generic.jointly(memory, own, index, scale, given)

    def _fitting(self, step: Step, memory: Memory, given: list[Any], own: str | None) -> int:
        """Return how many candidates fit into memory behind this step."""
        output = memory.output
        if not isinstance(output, Tensor):
            return max(1, self._chunk_bytes // 8 // max(1, memory.inputs[0].numel()))
        narrow = own is not None and step.rule.begins_narrow
        if own is None and step.rule.keeps_axis:
            narrow = all(_nothing(c) or (isinstance(c, Change) and c.axis is not None) for c in given)
        if narrow:
            return 1 << 30
        width = 8 if isinstance(step.rule, Generic) else torch.empty((), dtype=self._dtype).element_size()
        size = output.numel() * width
        if own is not None and isinstance(step.rule, Generic):
            size += 8 * memory.weights[step.rule.parameters[own]].numel()
        return max(1, self._chunk_bytes // max(1, size))

    def _forget(self, changes: dict[int, Any], path: list[int], at: int) -> None:
        """Drop changes that no later step takes."""
        position = path[at]
        kept = set(pytree.tree_leaves(self._graph.outputs))
        for source in self._step(position).sources:
            if source in changes and source not in kept and max(self._graph.users[source]) <= position:
                del changes[source]

    def _step(self, position: int) -> Step:
        step = self._graph.steps[position]
        if step is None:
            raise IndexError(position)
        return step

    def slot_costs(self, names: list[str]) -> list[float]:
        """Return the share of a forward pass that a query on each parameter costs."""
        costs = {
            at: step.rule.cost(self._memories[at]) for at, step in enumerate(self._graph.steps) if step is not None
        }
        total = max(1.0, sum(costs.values()))
        shares: list[float] = []
        for name in names:
            owners = self._graph.owners.get(name, ())
            spent = 0.0
            for place, _ in owners:
                narrow = {place: self._step(place).rule.begins_narrow}
                for at in self._graph.following(place):
                    step = self._step(at)
                    thin = all(narrow[s] for s in step.sources if s in narrow)
                    width = self._memories[at].inputs[0].shape[1] if thin and costs[at] else 1
                    spent += costs[at] / width
                    narrow[at] = thin and step.rule.keeps_axis
            shares.append(spent / total)
        return shares


def _keep_freed_memory() -> None:
    """Let the C library keep freed blocks of some megabytes for the next candidate, instead of returning them.

    Fresh pages cost more time here than arithmetic on them. The GNU allocator raises its thresholds, up to 32 MiB, to
    the size of the largest block that was freed (mallopt(3), M_MMAP_THRESHOLD); others are not affected.
    """
    torch.empty((32 << 20) - (64 << 10), dtype=torch.uint8)


def same_value(one: Any, two: Any) -> bool:
    """Return whether two values are equal; tensors to the last bit."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one is two or (one.shape == two.shape and one.dtype == two.dtype and torch.equal(one, two))
    return one is two or bool(one == two)


def _nothing(change: Any) -> bool:
    return change is None or (isinstance(change, (tuple, list)) and all(part is None for part in change))


def _rows(change: Any, rows: slice) -> Any:
    if isinstance(change, Change):
        return change[rows]
    return type(change)(_rows(part, rows) for part in change) if isinstance(change, (tuple, list)) else change
