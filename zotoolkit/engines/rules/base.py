"""The interface of rules: how one operation of a network passes on what candidates change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zotoolkit.engines.change import Change
from zotoolkit.engines.kernels import Kernels

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Memory:
    """What a rule knows of its operation at the base point, on one mini-batch.

    Attributes:
        inputs: The values of the operation's inputs, in the order in which the graph names them.
        output: The value of the operation.
        weights: All parameters and buffers of the network by name.
        dtype: What differences are stored in and linear operations run in.
        kernels: The element-wise passes.
        disposable: Whether the first input's change may be written over, for nothing else will read it.
        made: What the rule derived from the above once and keeps.
    """

    inputs: tuple[Any, ...]
    output: Any
    weights: Weights
    dtype: torch.dtype
    kernels: Kernels
    disposable: bool
    made: dict[str, Any]

    def at(self, name: str, value: Tensor, change: Change) -> Tensor:
        """Return the part of a base value that a change touches, broadcastable to `change.values`.

        Args:
            name: Of the value among what is kept.
            value: `(*S)` at the base point.
            change: Of that value.
        """
        if change.axis is None or change.index is None:
            return value
        axis = change.axis
        moved = self.once(f"{name} by axis {axis}", lambda: value.movedim(axis, 0).contiguous())
        return moved.index_select(0, change.index).unsqueeze(axis + 1)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` returned when this name was first asked for."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


class Rule(ABC):
    """One operation.

    Attributes:
        parameters: Names of the parameters that the operation uses, by the role they play in it.
        used: Names of all parameters and buffers that it uses.
        keeps_axis: Whether a change along one channel stays one: the chunk of candidates need not shrink behind it.
        begins_narrow: Whether one entry of a parameter changes one channel.
        makes_memory: Whether dense changes come in memory that nothing else refers to.
    """

    parameters: dict[str, str]
    used: tuple[str, ...]
    keeps_axis: bool = True
    begins_narrow: bool = False
    makes_memory: bool = False

    def __init__(self, parameters: Mapping[str, str] | None = None, used: Sequence[str] = ()) -> None:
        self.parameters = dict(parameters or {})
        self.used = tuple(used)

    @abstractmethod
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Any:
        """Return the operation's value."""

    def begin(self, memory: Memory, role: str, index: Tensor, scale: Tensor) -> Change | None:
        """Return what perturbing single entries of a parameter changes, while the inputs stay.

        Args:
            memory: Of the base point.
            role: Which parameter.
            index: `(P,)` int64 entries in the flattened parameter.
            scale: `(P,)` what is added to them.

        Returns:
            The change; None asks for the generic way, which evaluates the operation with the parameter perturbed.
        """
        return None

    @abstractmethod
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Any:
        """Return what changes behind the operation.

        Args:
            memory: Of the base point.
            changes: One entry an input, a Change or None; at least one is a Change.
        """

    def cost(self, memory: Memory) -> float:
        """Return multiply-adds of one evaluation; 0 for what is negligible."""
        return 0.0
