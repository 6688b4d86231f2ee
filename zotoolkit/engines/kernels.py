"""The element-wise passes of difference propagation, and the fastest form of each that there is.

On a CPU that is C++ (`zotoolkit.engines.native`), on a GPU what torch.compile makes of the functions here, elsewhere
these functions as they are: they say what is computed.

All take differences as `(P, M, C)`: P candidates, M samples and positions, C channels innermost. Sums run in float32 at
least, whatever the differences are stored in. With y = gain * (x - mean) / sigma + shift, a change D of x gives

    dy = A * D + B * x_hat + O,    A = gain / sigma',  B = gain * (sigma / sigma' - 1),  O = -A * mean(D)

and sigma'^2 - sigma^2 = 2 sigma cov(x_hat, D) + var(D), which is formed directly and not as a difference of variances.
"""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zotoolkit.engines.native.build import library
from zotoolkit.engines.native.passes import NativePasses

_log = logging.getLogger("zotoolkit")


def wide(values: Tensor) -> Tensor:
    """Return the values in float32, or float64 where they are so already."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def norm_coefficients(change: Tensor, normed: Tensor, gain: Tensor, variance: Tensor) -> Tensor:
    """Return the `(3, P, C)` coefficients A, B, O of a batch normalisation over M.

    Args:
        change: `(P, M, C)` of the input.
        normed: `(M, C)` or `(P, M, C)`, x_hat at the base point.
        gain: `(C,)` or `(P, C)`.
        variance: `(C,)` or `(P, C)` with epsilon added.
    """
    d = wide(change)
    count = change.shape[1]
    mean = d.sum(1) / count
    covariance = (d * normed).sum(1) / count
    square = (d * d).sum(1) / count
    sigma = torch.sqrt(variance)
    growth = 2 * sigma * covariance + square - mean * mean
    sigma_new = torch.sqrt(variance + growth)
    a = gain / sigma_new
    b = -gain * growth / (sigma_new * (sigma_new + sigma))
    return torch.stack((a, b, -a * mean))


def norm_apply(change: Tensor, normed: Tensor, coefficients: Tensor) -> Tensor:
    """Return the `(P, M, C)` change behind a normalisation."""
    return _affine(change, normed, coefficients).to(change.dtype)


def relu_change(change: Tensor, base: Tensor) -> Tensor:
    """Return relu(base + change) - relu(base) without cancellation: max(change, -base) + min(base, 0)."""
    return (torch.maximum(wide(change), -base) + torch.clamp(base, max=0)).to(change.dtype)


def norm_relu(change: Tensor, normed: Tensor, coefficients: Tensor, base: Tensor) -> Tensor:
    """Return the change behind a normalisation and a ReLU whose input is `(M, C)` base."""
    d = _affine(change, normed, coefficients)
    return torch.maximum(d, -base, out=d).add_(torch.clamp(base, max=0)).to(change.dtype)


def norm_add_relu(change: Tensor, normed: Tensor, coefficients: Tensor, base: Tensor, other: Tensor) -> Tensor:
    """Return the change behind a normalisation, an addition of `(P, M, C)` other, and a ReLU."""
    d = _affine(change, normed, coefficients).add_(other)
    return torch.maximum(d, -base, out=d).add_(torch.clamp(base, max=0)).to(change.dtype)


def norm_add_narrow_relu(
    change: Tensor, normed: Tensor, coefficients: Tensor, base: Tensor, column: Tensor, index: Tensor
) -> Tensor:
    """Return the same where other is 0 but for one channel a candidate: `(P, M, 1)` column, `(P,)` index."""
    hot = (torch.arange(change.shape[2], device=index.device) == index[:, None, None]).to(column.dtype)
    d = _affine(change, normed, coefficients).addcmul_(column, hot)
    return torch.maximum(d, -base, out=d).add_(torch.clamp(base, max=0)).to(change.dtype)


def spread_channel(
    change: Tensor,
    table: Tensor,
    index: Tensor,
    dtype: torch.dtype,
    kernel: tuple[int, int],
    stride: tuple[int, int],
) -> Tensor:
    """Return what a convolution makes of one changed channel a candidate: a product of patches and weights.

    Args:
        change: `(P, B, H, W)`, padded.
        table: `(inputs, taps, outputs)` weights.
        index: `(P,)` the channel.
        dtype: Of the product.
        kernel: Height and width.
        stride: Down and right.

    Returns:
        `(P, B, H', W', outputs)`.
    """
    (tall, wide), (down, right) = kernel, stride
    count, batch, height, width = change.shape
    height, width = (height - tall) // down + 1, (width - wide) // right + 1
    moved = change.to(dtype)
    taps = [
        moved[:, :, y : y + (height - 1) * down + 1 : down, x : x + (width - 1) * right + 1 : right]
        for y in range(tall)
        for x in range(wide)
    ]
    patches = torch.stack(taps, 1).view(count, len(taps), -1)
    product = torch.bmm(patches.transpose(1, 2), table[index].to(dtype))
    return product.view(count, batch, height, width, -1)


def position_mean(change: Tensor) -> Tensor:
    """Return the `(N, C)` mean over the positions of `(N, M, C)`."""
    return (wide(change).sum(1) / change.shape[1]).to(change.dtype)


def _affine(change: Tensor, normed: Tensor, coefficients: Tensor) -> Tensor:
    a, b, o = coefficients[:, :, None]
    return (wide(change) * a).addcmul_(normed, b).add_(o)


class Kernels:
    """The functions above in the fastest form there is, or as they are.

    Those that return what they took, changed, take `reuse=True` besides: the change's memory may then be written over.

    Args:
        fused: Whether each is to be one sweep over memory: by C++ compiled at first use on a CPU, by torch.compile on a
            GPU. Where there is no compiler that is said once in the log, and the plain functions are used.
    """

    def __init__(self, fused: bool) -> None:
        self.fused = fused
        self.norm_coefficients = _form(norm_coefficients, fused)
        self.norm_apply = _reusing(norm_apply, fused)
        self.norm_relu = _reusing(norm_relu, fused)
        self.norm_add_relu = _reusing(norm_add_relu, fused)
        self.norm_add_narrow_relu = _reusing(norm_add_narrow_relu, fused)
        self.position_mean = _form(position_mean, fused)
        self.spread_channel = _form(spread_channel, fused, compiled=False)


def _form(plain: Callable[..., Tensor], fused: bool, *, compiled: bool = True) -> Callable[..., Tensor]:
    """Return a function that takes the form of `plain` that its first argument's device asks for."""
    if not fused:
        return plain
    elsewhere = _Fused(plain) if compiled else plain

    def apply(change: Tensor, *others: Any, **options: bool) -> Tensor:
        if change.device.type != "cpu":
            return elsewhere(change, *others)
        passes = _native()
        out = None if passes is None else getattr(passes, plain.__name__)(change, *others, **options)
        return plain(change, *others) if out is None else out

    return apply


def _reusing(plain: Callable[..., Tensor], fused: bool) -> Callable[..., Tensor]:
    """Return the same for a function whose fast form can write over its first argument."""
    form = _form(plain, fused)
    return form if fused else lambda change, *others, reuse=False: plain(change, *others)


@functools.cache
def _native() -> NativePasses | None:
    compiled = library()
    return None if compiled is None else NativePasses(compiled)


class _Fused:
    """A function compiled once for each shape and dtype, whatever the number of candidates."""

    works = True
    """Whether compiling has worked so far in this process."""

    def __init__(self, plain: Callable[..., Tensor]) -> None:
        self._plain = plain

    def __call__(self, change: Tensor, *others: Tensor) -> Tensor:
        if not _Fused.works:
            return self._plain(change, *others)
        compiled = _compiled(self._plain, tuple(change.shape[1:]), change.dtype, change.device.type)
        if compiled.fresh:  # later calls, of any number of candidates, take the same code
            compiled.fresh = len(change) == 1  # which torch compiles apart
            for position, value in enumerate((change, *others)):
                if value.ndim == 3:
                    torch._dynamo.maybe_mark_dynamic(value, 1 if position == 2 else 0)  # (3, P, C) coefficients
        try:
            return compiled.function(change, *others)
        except Exception as error:
            if not type(error).__module__.startswith("torch."):
                raise
            _Fused.works = False
            reason = str(error).strip().splitlines()[0]
            _log.warning("element-wise passes run unfused, for torch.compile does not work here: %s", reason)
            return self._plain(change, *others)


class _Compiled:
    """A compiled copy of a function; torch.compile counts the shapes that one function object has seen."""

    def __init__(self, plain: Callable[..., Tensor], name: str) -> None:
        own = types.FunctionType(plain.__code__.replace(co_name=name), plain.__globals__, name)
        self.function = torch.compile(own, dynamic=False)
        self.fresh = True


@functools.cache
def _compiled(plain: Callable[..., Tensor], shape: tuple[int, ...], dtype: torch.dtype, device: str) -> _Compiled:
    return _Compiled(plain, "_".join(map(str, (plain.__name__, *shape, str(dtype).removeprefix("torch."), device))))
