"""Noise that is a pure function of (seed, context, point).

The draw is keyed by a hash of the point's own bits, so that a query gets the same noise in whatever batch or chunk it
is asked, two different points get independent noise, and a resumed run sees what the first one saw. The hash is a sum
over coordinates: where a query differs from its base in one coordinate, its hash follows from the base's in O(1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zotoolkit.queries import CoordinateBatch
from zotoolkit.seeding import derive_seed, mix64

_NOISE_DRAW = 0x401
_BLOCK = 1 << 18


def _coordinate_hash(x: Tensor, index: Tensor) -> Tensor:
    """Return the int64 hash of values `x` standing in coordinates `index`, element by element."""
    x = x + 0.0  # -0.0 and 0.0 are the same point
    bits = x.view(torch.int32).to(torch.int64) if x.element_size() == 4 else x.view(torch.int64)
    return mix64(mix64(index) ^ bits)


def point_hash(x: Tensor) -> Tensor:
    """Return a `(q,)` int64 hash of `(q, d)` points."""
    out = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    width = max(1, _BLOCK // max(len(x), 1))
    for start in range(0, x.shape[1], width):
        part = x[:, start : start + width].contiguous()
        out += _coordinate_hash(part, torch.arange(start, start + part.shape[1], device=x.device)).sum(1)
    return out


def coordinate_batch_hash(batch: CoordinateBatch) -> Tensor:
    """Return `point_hash(batch.points())`, bit for bit, without making the points."""
    old = batch.base[batch.index]
    base = point_hash(batch.base[None])
    return base - _coordinate_hash(old, batch.index) + _coordinate_hash(old + batch.scale, batch.index)


def normal_noise(seed: int, context: int, hashes: Tensor) -> Tensor:
    """Return `(q,)` float64 standard normal draws, one for each point hash (Box-Muller)."""
    root = derive_seed(seed, context, _NOISE_DRAW)
    first = mix64(hashes ^ root)
    second = mix64(first)
    radius = ((first >> 11) & ((1 << 53) - 1)).to(torch.float64).add_(1).mul_(2.0**-53)
    angle = ((second >> 11) & ((1 << 53) - 1)).to(torch.float64).mul_(2 * math.pi * 2.0**-53)
    return torch.sqrt(-2 * torch.log(radius)) * torch.cos(angle)
