"""Counter-based random directions.

Entry c of the direction with seed s is a hash of (s, c). No generator has a state, so any slice of any direction can
be made anywhere, in any order, bit-equal to the same slice of the whole.

    Rademacher   the hash's top bit as a sign
    normal       Box-Muller; two hash words give coordinates c and c + 2048 of a tile of 4,096 coordinates
    sphere       a normal direction divided by its length, so uniform on the unit sphere

Any of them can also be brought to length 1 in each segment of its coordinates apart, see `zotoolkit.laws`.

The hash mixes a coordinate once (32-bit avalanche), then keys it twice with the two halves of the SplitMix64-scrambled
seed. Directions are made in float32 in blocks that stay in cache; the scratch of a block is below 64 MiB everywhere.

Source: Box and Muller 1958; counter-based generators: Salmon et al., SC 2011.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import torch
from torch import Tensor

from zotoolkit.errors import InvalidBatch, brief
from zotoolkit.laws import AnyLaw, Law, Segmented, law_of
from zotoolkit.seeding import mix64

_HALF = 2048
_TILE = 2 * _HALF
# Elements of a block: a CPU's second-level cache, or enough work to fill a GPU (three float32 buffers and one in
# float64 stay below 64 MiB).
_BLOCK_CPU = 1 << 17
_BLOCK_GPU = 3 << 20
_ONE = 0x3F800000
_SIGN = -(1 << 31)
_COS, _SIN = 0, 1


def _to_int32(value: Tensor) -> Tensor:
    """Keep the low 32 bits of int64."""
    value = value & 0xFFFFFFFF
    return torch.where(value >= 1 << 31, value - (1 << 32), value).to(torch.int32)


def _keys(seed: Tensor) -> tuple[Tensor, Tensor]:
    """Return two `(n, 1)` int32 keys, the second one odd, for `(n,)` int64 seeds."""
    scrambled = mix64(seed)
    return _to_int32(scrambled)[:, None], _to_int32(scrambled >> 32)[:, None] | 1


def _shift_xor(x: Tensor, bits: int, scratch: Tensor) -> None:
    """In place, x ^= x >>> bits (logical shift)."""
    torch.bitwise_right_shift(x, bits, out=scratch)
    scratch.bitwise_and_((1 << (32 - bits)) - 1)
    x.bitwise_xor_(scratch)


def _coordinate_hash(start: int, stop: int, device: torch.device) -> Tensor:
    """Return `(stop - start,)` int32: each counter scrambled on its own, shared by all directions."""
    x = torch.arange(start, stop, dtype=torch.int32, device=device)
    x += -0x61C88647
    scratch = torch.empty_like(x)
    for bits, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97 - (1 << 32))):
        _shift_xor(x, bits, scratch)
        x *= factor
    _shift_xor(x, 15, scratch)
    return x


class _Scratch:
    """Buffers of one block, made once and handed out as views."""

    def __init__(self, rows: int, columns: int, device: torch.device) -> None:
        self._shape = (rows, columns)
        self._device = device
        self._buffers: dict[str, Tensor] = {}

    def get(self, name: str, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        if name not in self._buffers:
            size = self._shape[0] * self._shape[1]
            self._buffers[name] = torch.empty(size, dtype=dtype, device=self._device)
        # Contiguous whatever the shape, so that element-wise kernels see one flat run.
        return self._buffers[name][: rows * columns].view(rows, columns)


def _hash(counter: Tensor, key: tuple[Tensor, Tensor], buffers: _Scratch) -> tuple[Tensor, Tensor]:
    """Return `(n, m)` int32 hashes, whose top bits are well mixed, and a scratch of that shape."""
    rows, columns = len(key[0]), len(counter)
    x = buffers.get("hash", rows, columns, torch.int32)
    scratch = buffers.get("scratch", rows, columns, torch.int32)
    torch.bitwise_xor(counter, key[0], out=x)
    x.mul_(0x21F0AAAD)
    _shift_xor(x, 15, scratch)
    # A keyed odd factor: with a fixed one, coordinates whose counters differ in few high bits stay correlated (-0.3)
    # over all seeds; times a random odd number any two different words have uncorrelated top bits.
    x.mul_(key[1])
    return x, scratch


def _rademacher(counter: Tensor, key: tuple[Tensor, Tensor], buffers: _Scratch) -> Tensor:
    """Return `(n, m)` float32 signs: the sign bit on the bit pattern of 1.0."""
    x, _ = _hash(counter, key, buffers)
    return x.bitwise_and_(_SIGN).bitwise_or_(_ONE).view(torch.float32)


def _polar(counter: Tensor, key: tuple[Tensor, Tensor], buffers: _Scratch) -> tuple[Tensor, Tensor]:
    """Return `(n, m)` radii and angles of Box-Muller pairs."""
    x, scratch = _hash(counter, key, buffers)
    rows, columns = x.shape
    _shift_xor(x, 15, scratch)
    angle = buffers.get("angle", rows, columns, torch.float32)
    angle.copy_(x)
    angle.mul_(2 * math.pi / (1 << 32))
    x.mul_(0x2C1B3C6D)
    _shift_xor(x, 12, scratch)
    x.mul_(0x297A2D39)
    _shift_xor(x, 15, scratch)
    radius = scratch.view(torch.float32)
    # An odd 31-bit integer n stands for u = n / 2^31 in (0, 1): never zero, and fine-grained in the tail.
    radius.copy_(x.bitwise_and_(0x7FFFFFFF).bitwise_or_(1))
    radius.log_().mul_(-2.0).add_(62 * math.log(2)).clamp_(min=0.0).sqrt_()
    return radius, angle


def _blocks(seed: Tensor, law: Law, start: int, stop: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, columns, `(n, m)` float32 block) of Rademacher or normal directions.

    The columns count from 0 at coordinate `start`. A block is valid until the next one is asked for.
    """
    device, count = seed.device, len(seed)
    size = _BLOCK_GPU if device.type == "cuda" else _BLOCK_CPU
    widest = min(_HALF if law is Law.NORMAL else _TILE, stop - start if law is Law.RADEMACHER else stop)
    rows = max(1, min(count, size // max(widest, 1)))
    buffers = _Scratch(rows, widest, device)
    keys = _keys(seed)
    for low in range(start - start % _TILE, stop, _TILE):
        left, right = max(start, low), min(stop, low + _TILE)
        if law is Law.RADEMACHER:
            counter = _coordinate_hash(left, right, device)
            for i in range(0, count, rows):
                key = (keys[0][i : i + rows], keys[1][i : i + rows])
                yield slice(i, i + len(key[0])), slice(left - start, right - start), _rademacher(counter, key, buffers)
            continue
        pairs = min(right - low, _HALF)
        counter = _coordinate_hash(low // 2, low // 2 + pairs, device)
        for i in range(0, count, rows):
            key = (keys[0][i : i + rows], keys[1][i : i + rows])
            radius, angle = _polar(counter, key, buffers)
            for half, wave in ((_COS, torch.cos), (_SIN, torch.sin)):
                first, last = max(left, low + half * _HALF), min(right, low + (half + 1) * _HALF)
                if first >= last:
                    continue
                block = buffers.get("hash", len(key[0]), pairs, torch.int32).view(torch.float32)
                # Always whole rows of pairs: the kernel sees the same lanes whichever slice was asked for.
                wave(angle, out=block)
                block.mul_(radius)
                part = block[:, first - low - half * _HALF : last - low - half * _HALF]
                yield slice(i, i + len(key[0])), slice(first - start, last - start), part


def _lengths(seed: Tensor, offsets: tuple[int, ...]) -> Tensor:
    """Return `(n, s)` float32 lengths of normal directions in the s segments that end at these offsets.

    Squares are added by folding halves, an order that depends on nothing but the tile and the segment, so a length is
    bit-equal whichever directions are asked for together.
    """
    first = offsets[0]
    total = torch.zeros(len(seed), len(offsets) - 1, dtype=torch.float64, device=seed.device)
    for rows, columns, block in _blocks(seed, Law.NORMAL, first, offsets[-1]):
        for segment, piece in _pieces(offsets, first + columns.start, first + columns.stop):
            width = 1 << max(piece.stop - piece.start - 1, 0).bit_length()
            squares = torch.zeros(len(block), width, device=seed.device)
            part = block[:, piece]
            torch.mul(part, part, out=squares[:, : part.shape[1]])
            while width > 1:
                width //= 2
                squares = squares[:, :width] + squares[:, width : 2 * width]
            total[rows, segment] += squares[:, 0]
    # Few coordinates may all be exactly 0 (once in 2^25 for each pair): such a direction stays 0 rather than NaN.
    return total.sqrt_().to(torch.float32).clamp_(min=torch.finfo(torch.float32).tiny)


def _pieces(offsets: tuple[int, ...], start: int, stop: int) -> Iterator[tuple[int, slice]]:
    """Yield (segment, slice) for each segment's share of coordinates start to stop; slices count from `start`."""
    segment = bisect_right(offsets, start) - 1
    while start < stop and segment < len(offsets) - 1:
        end = min(stop, offsets[segment + 1])
        yield segment, slice(max(start, offsets[segment]) - start, end - start)
        if end == stop:
            return
        segment += 1


def direction_blocks(
    seed: Tensor, law: AnyLaw | str, dim: int, start: int = 0, stop: int | None = None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield coordinates `start:stop` of `(n,)` directions in blocks that stay in cache.

    Args:
        seed: `(n,)` int64, one a direction.
        law: Distribution of the entries.
        dim: Number of coordinates d of a whole direction.
        start: First coordinate wanted.
        stop: One past the last, d when left out.

    Yields:
        (rows, columns, block): the `(n_rows, n_columns)` float32 entries of these directions; columns count from
        `start`. The block's memory is used again for the next one.

    Raises:
        InvalidBatch: If the seeds are not `(n,)` int64 or the slice lies outside [0, dim].
        InvalidSetting: If there is no such law or its segments do not end at dim.
    """
    law = law_of(law)
    stop = dim if stop is None else stop
    if seed.ndim != 1 or seed.dtype != torch.int64:
        raise InvalidBatch(f"seed must be (n,) int64, got {brief(seed)}.")
    if not 0 <= start <= stop <= dim or dim >= 1 << 31:
        raise InvalidBatch(
            f"start and stop must satisfy 0 <= start <= stop <= dim < 2**31, got {start}:{stop} of {dim}."
        )
    if isinstance(law, Segmented):
        yield from _normalised(seed, Law.of(law.law), law.checked(dim), start, stop)
    elif law is Law.SPHERE:
        yield from _normalised(seed, law, (0, dim), start, stop)
    else:
        yield from _blocks(seed, law, start, stop)


def _normalised(
    seed: Tensor, law: Law, offsets: tuple[int, ...], start: int, stop: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield blocks of directions that have length 1 in each segment; only the segments in the slice are measured."""
    if start == stop:
        return
    offsets = offsets[bisect_right(offsets, start) - 1 : bisect_left(offsets, stop) + 1]
    if law is Law.RADEMACHER:
        for rows, columns, block in _blocks(seed, law, start, stop):
            for segment, piece in _pieces(offsets, start + columns.start, start + columns.stop):
                block[:, piece].div_(math.sqrt(offsets[segment + 1] - offsets[segment]))
            yield rows, columns, block
        return
    length = _lengths(seed, offsets)
    for rows, columns, block in _blocks(seed, Law.NORMAL, start, stop):
        for segment, piece in _pieces(offsets, start + columns.start, start + columns.stop):
            block[:, piece].div_(length[rows, segment : segment + 1])
        yield rows, columns, block


def directions(seed: Tensor, law: AnyLaw | str, dim: int, start: int = 0, stop: int | None = None) -> Tensor:
    """Return coordinates `start:stop` of the directions as one `(n, stop - start)` float32 tensor.

    Examples:
        >>> whole = directions(torch.tensor([7, 8]), "normal", dim=10)
        >>> part = directions(torch.tensor([8]), "normal", dim=10, start=3, stop=6)
        >>> torch.equal(part, whole[1:, 3:6])
        True
    """
    stop = dim if stop is None else stop
    out = torch.empty(len(seed), max(stop - start, 0), device=seed.device)
    for rows, columns, block in direction_blocks(seed, law, dim, start, stop):
        out[rows, columns] = block
    return out


def combine_directions(seed: Tensor, law: AnyLaw | str, weights: Tensor, dim: int) -> Tensor:
    """Return the `(d,)` sum of `weights[i]` times direction i, never holding more than a block of directions.

    Args:
        seed: `(n,)` int64.
        law: Distribution of the entries.
        weights: `(n,)` floating point; the result has its dtype.
        dim: Number of coordinates d.
    """
    out = torch.zeros(dim, dtype=weights.dtype, device=weights.device)
    for rows, columns, block in direction_blocks(seed, law, dim):
        out[columns].addmv_(block.to(weights.dtype).t(), weights[rows])
    return out
