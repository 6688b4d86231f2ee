"""128-bit names of query points, made without the dense matrix of points.

    F(x) = sum_c mix(key_c xor bits(x_c))        (mod 2^64, in two lanes)

The sum makes the name of a point that differs from the base in one coordinate cheap: one term goes, another comes. So a
coordinate batch costs O(d + q), and a seeded one is streamed in blocks. A point has one name however it is described: a
coordinate batch and the dense batch of its points agree to the bit.

Not cryptographic: two different points share a name with probability about 2^-128, unless someone makes them to.

Source: incremental hashing by modular sums, Bellare and Micciancio, Eurocrypt 1997; the mixer is SplitMix64's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zotoolkit.directions import direction_blocks
from zotoolkit.laws import law_of
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seed, mix64

_FACTOR = 0x2545F4914F6CDD1D
_WIDTH = 1 << 12  # coordinates whose keys are made at a time
_BLOCK = 1 << 15  # elements hashed together: 256 KiB of int64, which stays in cache


def point_fingerprints(batch: QueryBatch) -> Tensor:
    """Return `(q, 2)` int64 names of the batch's points; equal points have equal names, however described.

    Never holds more of the points than a block, except those of a batch type that it does not know.

    Examples:
        >>> batch = CoordinateBatch(base=torch.ones(3), scale=torch.tensor([0.5, 0.0]), index=torch.tensor([2, 0]))
        >>> from zotoolkit import DenseBatch
        >>> torch.equal(point_fingerprints(batch), point_fingerprints(DenseBatch.at(batch.points())))
        True
    """
    if isinstance(batch, CoordinateBatch):
        return _of_coordinates(batch)
    if isinstance(batch, SeededBatch):
        return _of_directions(batch)
    if isinstance(batch, DenseBatch):
        return _of_dense(batch)
    return _of_dense(DenseBatch.at(batch.points()))


def query_fingerprints(batch: QueryBatch) -> Tensor:
    """Return `(q, 2)` int64 names of the queries, in O(d + q) for seeded batches too.

    As `point_fingerprints`, but a seeded query off the base is named by (base, seed, law, live coordinates, scale): the
    same point described another way has another name.
    """
    if not isinstance(batch, SeededBatch):
        return point_fingerprints(batch)
    base = _of_point(batch.base)
    which = derive_seed(*law_of(batch.law).value.encode())
    if batch.alive is not None:
        which = derive_seed(which, *_of_point(batch.alive.to(torch.float64))[0].tolist())
    direction = mix64(mix64(batch.seed) ^ which)
    step = mix64(direction ^ mix64(_bits(batch.scale)))
    moved = torch.stack((mix64(base[0, 0] ^ step), mix64(base[0, 1] + direction) ^ step), dim=1)
    return torch.where(batch.scale[:, None] == 0, base, moved)


def _bits(x: Tensor) -> Tensor:
    """Return the bit patterns as int64; both zeros have that of +0."""
    x = x + 0.0
    return x.view(torch.int64) if x.dtype == torch.float64 else x.to(torch.float32).view(torch.int32).to(torch.int64)


def _keys(coordinate: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a term is keyed with, and the odd factor that makes its second lane."""
    key = mix64(coordinate)
    return key, mix64(key) | 1


def _terms(x: Tensor, keys: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return each entry's terms in both lanes; the keys broadcast against `x`."""
    mixed = _bits(x) ^ keys[0]
    for bits in (32, 29):  # a float's differences often stand in its top bits alone, and a product only moves them up
        mixed ^= (mixed >> bits) & ((1 << (64 - bits)) - 1)
        mixed *= _FACTOR
    mixed ^= (mixed >> 32) & 0xFFFFFFFF
    return mixed, mixed * keys[1]


def _sums(x: Tensor, keys: tuple[Tensor, Tensor]) -> Tensor:
    """Return `(n, 2)` sums of the terms of `(n, m)` entries."""
    first, second = _terms(x, keys)
    return torch.stack((first.sum(dim=1), second.sum(dim=1)), dim=1)


def _of_dense(batch: DenseBatch) -> Tensor:
    out = torch.zeros(len(batch), 2, dtype=torch.int64, device=batch.device)
    for left in range(0, batch.dim, _WIDTH):
        columns = slice(left, min(left + _WIDTH, batch.dim))
        keys = _keys(torch.arange(columns.start, columns.stop, device=batch.device))
        height = max(1, _BLOCK // len(keys[0]))
        for top in range(0, len(batch), height):
            rows = slice(top, top + height)
            part = batch.directions[rows, columns] * batch.scale[rows, None]  # the arithmetic of DenseBatch.points
            part += batch.base[columns]
            out[rows] += _sums(part, keys)
    return out


def _of_point(x: Tensor, coordinate: Tensor | None = None) -> Tensor:
    """Return `(1, 2)` sums over the `(m,)` entries that stand in these coordinates, by default in all."""
    out = torch.zeros(1, 2, dtype=torch.int64, device=x.device)
    coordinate = torch.arange(len(x), device=x.device) if coordinate is None else coordinate
    for left in range(0, len(x), _BLOCK):
        out += _sums(x[None, left : left + _BLOCK], _keys(coordinate[left : left + _BLOCK]))
    return out


def _of_coordinates(batch: CoordinateBatch) -> Tensor:
    before, keys = batch.base[batch.index], _keys(batch.index)
    gone = torch.stack(_terms(before, keys), dim=1)
    come = torch.stack(_terms(before + batch.scale, keys), dim=1)
    return _of_point(batch.base) - gone + come


def _of_directions(batch: SeededBatch) -> Tensor:
    alive = torch.arange(batch.dim, device=batch.device) if batch.alive is None else batch.alive
    base = batch.base[alive]
    # What the directions leave alone, and then, block by block, what they move: the arithmetic of SeededBatch.points.
    out = (_of_point(batch.base) - _of_point(base, alive)).repeat(len(batch), 1)
    at, keys = slice(0, 0), _keys(alive[:0])
    for rows, columns, block in direction_blocks(batch.seed, batch.law, batch.direction_dim):
        if columns != at:
            at, keys = columns, _keys(alive[columns])
        part = block.to(batch.dtype) * batch.scale[rows, None]
        part += base[columns]
        out[rows] += _sums(part, keys)
    return out
