"""Convolutions and linear layers: what they do to a change needs no base value, and one weight changes one channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd
from typing_extensions import override

from zotoolkit.engines.change import Change, fold
from zotoolkit.engines.rules.base import Memory, Rule, Weights
from zotoolkit.engines.rules.shifted import convolve_to_few, pays, tap_weights

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class Convolution(Rule):
    """A convolution with zero padding.

    Args:
        module: The layer; its numbers are read, its parameters are not.
        names: Of "weight" and, where there is one, "bias" in the network.
        parameters: Those of them that can be perturbed, by role.
    """

    keeps_axis = False
    begins_narrow = True
    makes_memory = True

    def __init__(self, module: _ConvNd, names: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        super().__init__(parameters, tuple(names.values()))
        self._names = dict(names)
        self._axes = len(module.kernel_size)
        self._call = _CONVOLUTIONS[self._axes]
        self._kernel, self._stride, self._dilation = module.kernel_size, module.stride, module.dilation
        self._groups = module.groups
        padding = module.padding
        if isinstance(padding, str):
            total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(self._dilation, self._kernel, strict=True)]
            self._pads = [(each // 2, each - each // 2) for each in total]
        else:
            self._pads = [(int(each), int(each)) for each in padding]
        self._settings = {
            "stride": module.stride,
            "padding": module.padding,
            "dilation": module.dilation,
            "groups": module.groups,
        }

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        bias = weights[self._names["bias"]] if "bias" in self._names else None
        return self._call(inputs[0], weights[self._names["weight"]], bias, **self._settings)

    @override
    def begin(self, memory: Memory, role: str, index: Tensor, scale: Tensor) -> Change:
        output, weight = memory.output, memory.weights[self._names["weight"]]
        count = len(index)
        if role == "bias":
            values = scale.view(-1, *(1,) * output.ndim).expand(count, output.shape[0], 1, *output.shape[2:])
            return Change(values, 1, index)
        per_output = prod(weight.shape[1:])
        channel = index // per_output
        inner, tap = (index % per_output) // prod(self._kernel), index % prod(self._kernel)
        inner = inner + (channel // (weight.shape[0] // self._groups)) * weight.shape[1]
        padded = memory.once("padded", lambda: self._padded(memory.inputs[0]))
        chosen = [(tap == which).nonzero().flatten() for which in torch.unique(tap).tolist()]
        values = torch.cat([self._window(padded, int(tap[rows[0]]), output.shape)[inner[rows]] for rows in chosen])
        values = values[torch.argsort(torch.cat(chosen))].unsqueeze(2)
        values *= scale.view(-1, *(1,) * output.ndim)
        return Change(values, 1, channel)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        if change.axis == 1 and self._groups == 1 and self._axes == 2 and set(self._dilation) == {1}:
            return self._from_one_channel(memory, change)
        source = memory.inputs[0]
        kept = memory.once("weight", lambda: self._kept_weight(memory))
        moved = change.dense(source.shape, memory.dtype)
        if self._has_few_outputs(moved, kept):
            taps = memory.once("taps", lambda: tap_weights(kept))
            (tall, wide), (rows_around, columns_around) = self._kernel, self._pads
            out = convolve_to_few(fold(moved), taps, (tall, wide), (rows_around, columns_around))
        else:
            out = self._call(fold(moved), kept, None, **self._settings)
        return Change(out.unflatten(0, (len(change), source.shape[0])))

    def _has_few_outputs(self, moved: Tensor, weight: Tensor) -> bool:
        """Return whether a sum of shifted images is the faster way; sums are rounded in the differences' own dtype."""
        plain = self._axes == 2 and self._groups == 1 and set(self._stride) == set(self._dilation) == {1}
        exact = moved.dtype in (torch.float32, torch.float64) and moved.device.type == "cpu"
        return plain and exact and pays(weight.shape[1], len(weight), prod(self._kernel))

    def _from_one_channel(self, memory: Memory, change: Change) -> Change:
        """Convolve the one channel that changes."""
        table = memory.once("by_input", lambda: self._by_input(memory))  # (inputs, taps, outputs)
        (top, bottom), (before, behind) = self._pads
        padded = functional.pad(change.values[:, :, 0], (before, behind, top, bottom))
        product = memory.kernels.spread_channel(padded, table, change.index, memory.dtype, self._kernel, self._stride)
        return Change(product.permute(0, 1, 4, 2, 3))

    def _kept_weight(self, memory: Memory) -> Tensor:
        weight = memory.weights[self._names["weight"]].to(memory.dtype)
        return weight.contiguous(memory_format=torch.channels_last) if self._axes == 2 else weight

    def _by_input(self, memory: Memory) -> Tensor:
        weight = memory.weights[self._names["weight"]]
        return weight.flatten(2).permute(1, 2, 0).contiguous()

    def _padded(self, source: Tensor) -> Tensor:
        """Return the input, padded, as `(inputs, B, ...)`: a channel's values side by side."""
        pads = [side for pair in reversed(self._pads) for side in pair]
        return (functional.pad(source, pads) if any(pads) else source).transpose(0, 1).contiguous()

    def _window(self, padded: Tensor, tap: int, shape: torch.Size) -> Tensor:
        """Return the `(inputs, B, ...)` view of what one tap of the kernel is multiplied with."""
        place: list[slice] = []
        for size, stride, dilation, extent in zip(
            reversed(self._kernel), reversed(self._stride), reversed(self._dilation), reversed(shape[2:]), strict=True
        ):
            tap, offset = divmod(tap, size)
            begin = offset * dilation
            place.insert(0, slice(begin, begin + (extent - 1) * stride + 1, stride))
        return padded[(slice(None), slice(None), *place)]

    @override
    def cost(self, memory: Memory) -> float:
        return memory.output.numel() * float(prod(memory.weights[self._names["weight"]].shape[1:]))


class Linear(Rule):
    """A linear layer on the last axis.

    Args:
        module: The layer.
        names: Of "weight" and, where there is one, "bias" in the network.
        parameters: Those of them that can be perturbed, by role.
    """

    keeps_axis = False
    begins_narrow = True

    def __init__(self, module: nn.Linear, names: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        super().__init__(parameters, tuple(names.values()))
        self._names = dict(names)
        self._inputs = module.in_features

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        bias = weights[self._names["bias"]] if "bias" in self._names else None
        return functional.linear(inputs[0], weights[self._names["weight"]], bias)

    @override
    def begin(self, memory: Memory, role: str, index: Tensor, scale: Tensor) -> Change:
        source, axis = memory.inputs[0], memory.output.ndim - 1
        factor = scale.view(-1, *(1,) * memory.output.ndim)
        if role == "bias":
            return Change(factor.expand(-1, *memory.output.shape[:-1], 1), axis, index)
        values = source.index_select(-1, index % self._inputs).movedim(-1, 0)[..., None]
        return Change(values * factor, axis, index // self._inputs)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        weight = memory.once("weight", lambda: memory.weights[self._names["weight"]].to(memory.dtype))
        source = memory.inputs[0]
        if change.axis is not None and change.axis == source.ndim - 1:
            columns = weight.t()[change.index].view(len(change), *(1,) * (source.ndim - 1), -1)
            return Change(change.values.to(memory.dtype) * columns)
        return Change(functional.linear(change.dense(source.shape, memory.dtype), weight))

    @override
    def cost(self, memory: Memory) -> float:
        return memory.output.numel() * float(self._inputs)
