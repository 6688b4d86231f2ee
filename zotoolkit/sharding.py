"""Splitting a coordinate batch over workers by what its queries cost.

With feature reuse, a query that changes a weight of the last layer costs next to nothing and one that changes the first
layer a whole forward pass: parts of equal length would keep one worker busy and the others waiting. Parts are runs of
neighbouring coordinates, cut where the summed cost reaches k/w of the total, so that each worker sees few layers and no
part costs more than total/w plus its dearest query.

Source: Chen et al., DeepZero, ICLR 2024, section 5 (feature reuse, parallelisation over coordinates).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from zotoolkit.checks import check_count
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidValues, brief
from zotoolkit.queries import CoordinateBatch
from zotoolkit.structure import fitting


@dataclass(frozen=True, eq=False)
class Shards:
    """Which queries of a batch go to which worker.

    Attributes:
        rows: For each worker the `(n,)` int64 positions of its queries in the batch; each query is in exactly one, and
            a worker may have none.
        costs: What each part costs.
    """

    rows: tuple[Tensor, ...]
    costs: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, batch: CoordinateBatch) -> list[CoordinateBatch]:
        """Return each worker's batch.

        Raises:
            InvalidBatch: If the batch has another number of queries.
        """
        if len(batch) != (count := sum(map(len, self.rows))):
            raise InvalidBatch(f"the shards are of a batch of {count} queries, got {len(batch)}.")
        return [batch[rows.to(batch.device)] for rows in self.rows]

    def merge(self, values: Sequence[Tensor]) -> Tensor:
        """Return the `(q,)` values in the batch's order.

        Args:
            values: Each worker's, in the order of its batch.

        Raises:
            InvalidValues: If a worker's are missing or not one a query.
        """
        sizes = [len(rows) for rows in self.rows]
        if [tuple(part.shape) for part in values] != [(size,) for size in sizes]:
            shapes = [tuple(part.shape) for part in values]
            raise InvalidValues(f"there must be one value a query, in parts of {sizes}, got shapes {shapes}.")
        whole = torch.cat(list(values))
        out = torch.empty_like(whole)
        out[torch.cat(self.rows).to(whole.device)] = whole
        return out


def split_by_cost(
    batch: CoordinateBatch | Tensor,
    layout: ParameterLayout,
    costs: Mapping[str, float] | Sequence[float] | Tensor,
    parts: int,
    *,
    base_cost: float = 1.0,
) -> Shards:
    """Split a batch into parts of nearly equal cost.

    Args:
        batch: What is split, or its `(q,)` int64 coordinates.
        layout: Which coordinates form which parameter.
        costs: Of one query in each parameter, in any unit, such as forward-equivalents: by name, or in the order of
            `layout.slots`.
        parts: How many workers w there are.
        base_cost: Of a query of the base point itself (scale 0), which shares nothing.

    Returns:
        w shards, of which none costs more than total/w plus the dearest query.

    Raises:
        InvalidSetting: If a cost is negative, not finite or missing, or parts is below 1.
        InvalidBatch: If the coordinates are no `(q,)` int64 inside the layout.

    Examples:
        >>> layout = ParameterLayout.of(torch.nn.Sequential(torch.nn.Linear(2, 2, False), torch.nn.Linear(2, 1, False)))
        >>> shards = split_by_cost(torch.arange(6), layout, {"0.weight": 1.0, "1.weight": 0.25}, parts=2)
        >>> [rows.tolist() for rows in shards.rows]
        [[0, 1], [2, 3, 4, 5]]
        >>> shards.merge([torch.tensor([10.0, 11.0]), torch.tensor([12.0, 13.0, 14.0, 15.0])]).tolist()
        [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    """
    check_count(parts, "parts")
    whole = isinstance(batch, CoordinateBatch)
    index = batch.index.cpu() if whole else _checked_index(batch, layout)
    if whole:
        fitting(layout, batch.dim)
    each = _checked_costs(costs, layout)[layout.slot_of(index)]
    if whole:
        each = torch.where(batch.scale.cpu() == 0, _checked_cost(base_cost, "base_cost"), each)
    if not bool(each.any()):  # all free: then by number
        each = torch.ones_like(each)
    # Neighbours in the vector are neighbours in the network.
    order = index.argsort(stable=True)
    sorted_costs = each[order]
    # A query belongs to the part in which the middle of its cost lies.
    middle = sorted_costs.cumsum(0) - sorted_costs / 2
    part = (middle / sorted_costs.sum() * parts).floor().clamp(0, parts - 1).to(torch.int64)
    sizes = torch.bincount(part, minlength=parts).tolist()
    rows = tuple(order.split(sizes))
    return Shards(rows, tuple(float(each[r].sum()) for r in rows))


def _checked_index(index: object, layout: ParameterLayout) -> Tensor:
    if not isinstance(index, Tensor) or index.ndim != 1 or index.dtype != torch.int64:
        raise InvalidBatch(f"batch must be a CoordinateBatch or (q,) int64 coordinates, got {brief(index)}.")
    if len(index) and not (int(index.min()) >= 0 and int(index.max()) < layout.dim):
        raise InvalidBatch(f"coordinates must lie in [0, {layout.dim}), got {int(index.min())} to {int(index.max())}.")
    return index.cpu()


def _checked_costs(costs: Mapping[str, float] | Sequence[float] | Tensor, layout: ParameterLayout) -> Tensor:
    """Return the `(s,)` float64 costs in the order of the slots."""
    names = [slot.name for slot in layout.slots]
    if isinstance(costs, Mapping):
        if missing := [name for name in names if name not in costs]:
            raise InvalidSetting(f"costs must name every parameter, but lacks {', '.join(missing)}.")
        given = [costs[name] for name in names]
    else:
        given = costs.tolist() if isinstance(costs, Tensor) else list(costs)
        if len(given) != len(names):
            raise InvalidSetting(
                f"costs must have one entry for each of the {len(names)} parameters, got {len(given)}."
            )
    checked = [_checked_cost(cost, name) for cost, name in zip(given, names, strict=True)]
    return torch.tensor(checked, dtype=torch.float64)


def _checked_cost(cost: object, name: str) -> float:
    if isinstance(cost, bool) or not isinstance(cost, Real) or not 0 <= float(cost) < math.inf:
        raise InvalidSetting(f"the cost of {name} must be a finite number of at least 0, got {brief(cost)}.")
    return float(cost)
