"""Functions of one entry at a time, and sums and products of two values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.engines.change import Change
from zotoolkit.engines.kernels import relu_change
from zotoolkit.engines.rules.base import Memory, Rule, Weights


class Identity(Rule):
    """What passes its input on as it is, such as dropout while evaluating."""

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Any:
        return inputs[0]

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Any:
        return changes[0]


class Relu(Rule):
    """max(x, slope * x): ReLU with slope 0, leaky ReLU with a small one.

    Args:
        slope: In [0, 1].
    """

    def __init__(self, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        return torch.nn.functional.leaky_relu(inputs[0], self.slope) if self.slope else torch.relu(inputs[0])

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        values = relu_change(change.values, memory.at("input", memory.inputs[0], change))
        if self.slope:
            values = (1 - self.slope) * values + self.slope * change.values
        return Change(values, change.axis, change.index)


class Pointwise(Rule):
    """Any function of one entry at a time, evaluated in float64 on both sides.

    Args:
        function: Takes and returns a tensor of the same shape.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        return self._function(inputs[0])

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        base = memory.at("input", memory.inputs[0], change).double()
        values = self._function(base + change.values.double()) - self._function(base)
        return Change(values.to(change.values.dtype), change.axis, change.index)


class Scaling(Pointwise):
    """Multiplication by, or division by, a number; a sum with one.

    Args:
        function: Takes and returns a tensor.
        factor: Slope of the function.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], factor: float) -> None:
        super().__init__(function)
        self._factor = factor

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        return Change(change.values * self._factor, change.axis, change.index)


class Sum(Rule):
    """x + y or x - y.

    Args:
        sign: Of y: 1 or -1.
    """

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.sign = sign

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        return inputs[0] + self.sign * inputs[1]

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        shape = memory.output.shape
        parts: list[Change] = []
        for position, change in enumerate(changes):
            if isinstance(change, Change):
                signed = -change.values if position and self.sign < 0 else change.values
                parts.append(_spread(Change(signed, change.axis, change.index), memory.inputs[position].shape, shape))
        if len(parts) == 1:
            return parts[0]
        one, two = parts
        if one.axis is not None and one.axis == two.axis and torch.equal(_index(one), _index(two)):
            return Change(one.values + two.values, one.axis, one.index)
        return Change(one.dense(shape, memory.dtype) + two.dense(shape, memory.dtype))


class Product(Rule):
    """A bilinear function of two values: their element-wise or matrix product.

    Args:
        function: Of two tensors, batching over leading axes as torch.mul and torch.matmul do.
    """

    keeps_axis = False

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        return self._function(inputs[0], inputs[1])

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        left, right = (value.to(memory.dtype) for value in memory.inputs)
        dense = [
            change.dense(value.shape, memory.dtype) if isinstance(change, Change) else None
            for change, value in zip(changes, memory.inputs, strict=True)
        ]
        product = torch.vmap(self._function)
        spread = lambda value, like: value.expand(len(like), *value.shape)  # noqa: E731
        parts: list[Tensor] = []
        if dense[0] is not None:
            moved = spread(right, dense[0]) if dense[1] is None else right + dense[1]
            parts.append(product(dense[0], moved))
        if dense[1] is not None:
            parts.append(product(spread(left, dense[1]), dense[1]))
        return Change(parts[0] if len(parts) == 1 else parts[0] + parts[1])


def _index(change: Change) -> Tensor:
    return change.values.new_empty(0) if change.index is None else change.index


def _spread(change: Change, shape: torch.Size, wanted: torch.Size) -> Change:
    """Broadcast a change of a value of this shape to the shape of the result."""
    if shape == wanted:
        return change
    missing = len(wanted) - len(shape)
    values = change.dense(shape, change.values.dtype)
    values = values.view(len(change), *(1,) * missing, *shape)
    return Change(values.expand(len(change), *wanted))
