"""The rule for any operation: evaluate it in float64 with and without the change, batched over the candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree
from typing_extensions import override

from zotoolkit.engines.change import Change
from zotoolkit.engines.rewrites import BatchFriendly
from zotoolkit.engines.rules.base import Memory, Rule, Weights

Call = Callable[[Weights, tuple[Any, ...]], Any]


class Generic(Rule):
    """Any pure operation.

    The difference of two float64 values is as good as the float32 differences that go in: with a change of relative
    size 1e-8 the result still has eight digits.

    Args:
        call: `call(weights, inputs)` evaluates the operation.
        parameters: Names of the parameters that can be perturbed, by role.
        used: Names of all parameters and buffers it uses.
    """

    keeps_axis = False

    def __init__(self, call: Call, parameters: Mapping[str, str] | None = None, used: Sequence[str] = ()) -> None:
        super().__init__(parameters, used)
        self._call = call

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Any:
        return self._call(weights, inputs)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Any:
        return self._moved(memory, changes, {})

    @override
    def begin(self, memory: Memory, role: str, index: Tensor, scale: Tensor) -> Any:
        return self.jointly(memory, role, index, scale, [None] * len(memory.inputs))

    def jointly(self, memory: Memory, role: str, index: Tensor, scale: Tensor, changes: Sequence[Any]) -> Any:
        """Return what changes when a parameter is perturbed and inputs change too, as tied parameters do."""
        name = self.parameters[role]
        value = memory.weights[name].double()
        moved = value.flatten().repeat(len(index), 1)
        moved.scatter_add_(1, index[:, None], scale.double()[:, None])
        return self._moved(memory, changes, {name: moved.view(-1, *value.shape)})

    def _moved(self, memory: Memory, changes: Sequence[Any], perturbed: dict[str, Tensor]) -> Any:
        wide = pytree.tree_map(_double, memory.inputs)
        weights = memory.once("double", lambda: {name: _double(memory.weights[name]) for name in self.used})
        base = memory.once("base", lambda: self._call(weights, wide))
        moving = {
            i: given + change.dense(given.shape, torch.float64)
            for i, (given, change) in enumerate(zip(wide, changes, strict=True))
            if isinstance(change, Change)
        }

        def one(parts: dict[int, Tensor], own: dict[str, Tensor]) -> Any:
            inputs = tuple(parts.get(i, given) for i, given in enumerate(wide))
            return self._call({**weights, **own}, inputs)

        with BatchFriendly():
            moved = vmap(one)(moving, perturbed)

        def difference(new: Any, old: Any) -> Any:
            if not isinstance(new, Tensor) or not new.is_floating_point():
                return None
            return Change((new - old).to(memory.dtype))

        return pytree.tree_map(difference, moved, base)


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
