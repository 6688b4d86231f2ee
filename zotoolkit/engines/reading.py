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
    """Reads values off a network's output: what they are at the base point, and what candidates add to them."""

    @abstractmethod
    def start(self, count: int) -> list[Tensor]:
        """Return P rows of the values at the base point, `(P, ...)` each, fresh memory."""

    @abstractmethod
    def of(self, changes: Sequence[Change | None], count: int) -> list[Tensor]:
        """Return the `(P, ...)` differences of P candidates.

        Args:
            changes: One for each tensor of the output; None where nothing changes.
            count: P.
        """


class OutputReading(Reading):
    """The outputs themselves, in their own dtype.

    Args:
        output: The network's at the base point: a tensor, or several in a structure.
    """

    def __init__(self, output: Any) -> None:
        self._leaves, self._structure = pytree.tree_flatten(output)

    @override
    def start(self, count: int) -> list[Tensor]:
        return [leaf.repeat(count, *(1,) * leaf.ndim) for leaf in self._leaves]

    @override
    def of(self, changes: Sequence[Change | None], count: int) -> list[Tensor]:
        return [
            leaf.new_zeros(()).expand(count, *leaf.shape) if change is None else change.dense(leaf.shape, leaf.dtype)
            for leaf, change in zip(self._leaves, changes, strict=True)
        ]

    def structured(self, values: list[Tensor]) -> Any:
        """Return values in the output's structure."""
        return pytree.tree_unflatten(values, self._structure)


def joined(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    """Return the rows of several readings, at least one, as one."""
    return parts[0] if len(parts) == 1 else [torch.cat(rows) for rows in zip(*parts, strict=True)]
