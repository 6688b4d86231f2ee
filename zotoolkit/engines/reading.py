"""What is taken from the changes of a network's output: the outputs themselves, or a loss of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from typing_extensions import override

from zotoolkit.engines.change import Change


class Reading(ABC):
    """Reads what candidates do to a network's output, relative to the base point."""

    @abstractmethod
    def of(self, changes: Sequence[Change | None], count: int) -> Any:
        """Return P rows: a `(P, ...)` tensor, or several in the output's structure.

        Args:
            changes: One for each tensor of the output; None where nothing changes.
            count: P.
        """


class OutputReading(Reading):
    """The outputs themselves: the base point's plus each candidate's change, in the output's own dtype.

    Args:
        output: The network's at the base point.
    """

    def __init__(self, output: Any) -> None:
        self._leaves, self._structure = pytree.tree_flatten(output)

    @override
    def of(self, changes: Sequence[Change | None], count: int) -> Any:
        """Return the `(P, *S)` values of P candidates."""
        moved = [
            base.expand(count, *base.shape) if change is None else base + change.dense(base.shape, base.dtype)
            for base, change in zip(self._leaves, changes, strict=True)
        ]
        return pytree.tree_unflatten(moved, self._structure)


def joined(parts: Sequence[Any]) -> Any:
    """Return the rows of several readings in one; at least one part."""
    return parts[0] if len(parts) == 1 else pytree.tree_map(lambda *rows: torch.cat(rows), parts[0], *parts[1:])


def placed(into: Any, rows: Tensor, values: Any) -> Any:
    """Write `(P, ...)` values into these `(P,)` int64 rows; make room like `into`'s if it is a number of rows.

    Args:
        into: What an earlier call returned, or how many rows there will be.
        rows: Where the values go.
        values: A tensor, or several in a structure.
    """
    if isinstance(into, int):
        into = pytree.tree_map(lambda value: value.new_empty(into, *value.shape[1:]), values)
    pytree.tree_map(lambda whole, value: whole.index_copy_(0, rows, value), into, values)
    return into
