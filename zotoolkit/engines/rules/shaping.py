"""Pooling, and everything that only moves, picks or averages entries: linear, without weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional
from torch.utils import _pytree as pytree
from typing_extensions import override

from zotoolkit.engines.change import Change, fold, rows
from zotoolkit.engines.rules.base import Memory, Rule, Weights

Call = Callable[[tuple[Any, ...]], Any]


class Moving(Rule):
    """A linear function without weights and constants of any number of values, batched over the candidates.

    Args:
        call: Takes the inputs.
    """

    keeps_axis = False

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Any:
        return self._call(inputs)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Any:
        moved: list[Any] = []
        axes: list[int | None] = []
        for given, change in zip(memory.inputs, changes, strict=True):
            if isinstance(change, Change):
                moved.append(change.dense(given.shape, memory.dtype))
            else:  # what stays adds nothing
                moved.append(given.new_zeros((), dtype=memory.dtype).expand(given.shape) if _number(given) else given)
            axes.append(0 if isinstance(change, Change) else None)
        values = vmap(lambda *inputs: self._call(inputs), in_dims=tuple(axes))(*moved)
        return pytree.tree_map(Change, values)


def _number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


class Folded(Rule):
    """A linear function of one `(B, ...)` value that treats all rows alike, so that candidates can be more rows.

    Args:
        call: Takes and returns a tensor.
        by_channel: Whether it also treats the channels, axis 1, one by one and alike.
        channel_offset: How far it moves the channels.
    """

    def __init__(self, call: Callable[[Tensor], Tensor], *, by_channel: bool, channel_offset: int = 0) -> None:
        super().__init__()
        self._call = call
        self.keeps_axis = by_channel
        self._offset = channel_offset

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        return self._call(inputs[0])

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        source, output = memory.inputs[0], memory.output
        if change.axis == 1 and self.keeps_axis and not self._offset:
            out = self._call(fold(change.values))
            if output.ndim == 2 and output.shape[1] != source.shape[1]:  # flattened: channels came to stand apart
                return self._dense(change, source, memory)
            return Change(out.unflatten(0, (len(change), source.shape[0])), 1, change.index)
        return self._dense(change, source, memory)

    def _dense(self, change: Change, source: Tensor, memory: Memory) -> Change:
        out = self._call(fold(change.dense(source.shape, memory.dtype)))
        if out.ndim == 4 and out.is_floating_point():
            out = out.contiguous(memory_format=torch.channels_last)
        return Change(out.unflatten(0, (len(change), source.shape[0])))


class PositionMean(Folded):
    """The mean of `(B, C, H, W)` images over all positions.

    Args:
        call: Takes and returns a tensor.
    """

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__(call, by_channel=True)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        if change.axis is not None or memory.inputs[0].ndim != 4:
            return super().propagate(memory, changes)
        count, batch, channels = change.values.shape[:3]
        positions = rows(fold(change.values), 1)
        mean = memory.kernels.position_mean(positions)
        return Change(mean.view(count, batch, channels, *memory.output.shape[2:]))


class ChannelPad(Rule):
    """Zero padding of `(B, C, ...)` images, on the channel axis or the axes behind it.

    Args:
        pads: As `torch.nn.functional.pad` takes them, last axis first.
        axes: Number of axes of the value.
    """

    def __init__(self, pads: Sequence[int]) -> None:
        super().__init__()
        self._pads = list(pads)

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        return functional.pad(inputs[0], self._pads)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        behind = 2 * (memory.inputs[0].ndim - 2)  # entries for the axes behind the channels
        if change.axis == 1 and change.index is not None and len(self._pads) <= behind + 2:
            before = self._pads[behind] if len(self._pads) > behind else 0
            spatial = self._pads[:behind]
            values = functional.pad(change.values, spatial) if any(spatial) else change.values
            return Change(values, 1, change.index + before)
        values = functional.pad(change.dense(memory.inputs[0].shape, memory.dtype), self._pads)
        if values.ndim == 5:
            values = values.movedim(2, -1).contiguous().movedim(-1, 2)
        return Change(values)


class Item(Moving):
    """value[position]: a part of a tuple, such as `chunk` returns, or of a tensor.

    Args:
        call: Takes the value as its only input.
        position: Which part.
    """

    def __init__(self, call: Call, position: int) -> None:
        super().__init__(call)
        self._position = position

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Any:
        if isinstance(memory.inputs[0], (tuple, list)):
            return changes[0][self._position]
        return super().propagate(memory, changes)


class MaxPool(Rule):
    """Max pooling of `(B, C, H, W)` images.

    Windows that do not overlap pool the entries' distances to their window's maximum plus their change, which keeps
    every digit of it; other windows are pooled in float64 on both sides.

    Args:
        call: The pooling.
        window: Height and width of windows that tile the image, else None.
    """

    def __init__(self, call: Callable[[Tensor], Tensor], window: tuple[int, int] | None) -> None:
        super().__init__()
        self._call, self._window = call, window

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        return self._call(inputs[0])

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        source, output = memory.inputs[0], memory.output
        tiled = self._window is not None and prod(output.shape[2:]) * prod(self._window) == prod(source.shape[2:])
        if tiled:
            base = memory.once("distance", lambda: self._distance(source, output))
        else:
            base = memory.once("double", source.double)
        part = memory.at("distance" if tiled else "double", base, change)
        moved = part + change.values.to(part.dtype)
        values = self._call(fold(moved)).unflatten(0, (len(change), source.shape[0]))
        if not tiled:
            old = self._call(fold(part.expand(moved.shape) if part.ndim == moved.ndim else part[None]))
            values = values - old.unflatten(0, (-1, source.shape[0]))
        return Change(values.to(change.values.dtype), change.axis, change.index)

    def _distance(self, source: Tensor, output: Tensor) -> Tensor:
        height, width = self._window or (1, 1)
        return source - output.repeat_interleave(height, 2).repeat_interleave(width, 3)
