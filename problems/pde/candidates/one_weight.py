"""What a single changed weight adds to the output of its layer.

A convolution is linear in its weights: where weight (o, i, y, x) is larger by a, output channel o is larger by a times
input channel i, shifted by (y, x) as the layer's padding, stride and dilation say. Likewise a linear layer; and a bias
adds a to its channel. So candidates that differ in one weight each can share the layer's own pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

_FORWARDS = {nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward, nn.Linear.forward}


@dataclass(frozen=True)
class Changes:
    """The candidates of a chunk that change one parameter, in one entry each.

    Attributes:
        rows: `(n,)` which candidates of the chunk; each at most once.
        place: `(n,)` indices into the parameter, one tensor an axis.
        amount: `(n,)` by how much the entry is larger.
    """

    rows: Tensor
    place: tuple[Tensor, ...]
    amount: Tensor


def has_rule(layer: nn.Module, name: str) -> bool:
    """Return whether `add_changes` knows what a parameter does: weights and biases of convolutions and linear layers.

    A subclass of these may stand there, if it does not touch the forward pass.
    """
    return name in ("weight", "bias") and type(layer).forward in _FORWARDS


def add_changes(layer: nn.Module, name: str, inputs: Tensor, output: Tensor, changes: Changes) -> None:
    """Add to a layer's output what the changes do, in place.

    Args:
        layer: That `has_rule`.
        name: "weight" or "bias".
        inputs: `(P, W, ...)` what the layer was given, P candidates of W rows each.
        output: `(P, W, ...)` what it returned.
        changes: Of this parameter.
    """
    rows = changes.rows
    amount = changes.amount.view(-1, *[1] * (output.ndim - 2))
    if isinstance(layer, _ConvNd):
        moved = _shifted(layer, inputs, output.shape[3:], changes) if name == "weight" else None
        output[rows, :, changes.place[0]] += amount if moved is None else amount * moved
    else:
        moved = inputs[rows, ..., changes.place[1]] if name == "weight" else None
        output[rows, ..., changes.place[0]] += amount if moved is None else amount * moved


def _shifted(layer: _ConvNd, inputs: Tensor, sizes: torch.Size, changes: Changes) -> Tensor:
    """Return the `(n, W, *sizes)` input that each changed weight of a convolution is multiplied with."""
    out_channel, channel, *taps = changes.place
    group = out_channel // (layer.out_channels // layer.groups)
    part = inputs[changes.rows, :, group * (layer.in_channels // layer.groups) + channel]
    pads = layer._reversed_padding_repeated_twice
    if any(pads):
        part = functional.pad(part, pads, "constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    for axis, (size, stride, dilation) in enumerate(zip(sizes, layer.stride, layer.dilation, strict=True)):
        # (..., shifts, ..., positions): each axis becomes the taps' shifts along it, its positions go to the end.
        part = part.unfold(2 + axis, (size - 1) * stride + 1, dilation)[..., ::stride]
    every = torch.arange(len(part), device=part.device)
    return part[(every, slice(None), *taps)]
