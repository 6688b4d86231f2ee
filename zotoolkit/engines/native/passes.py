"""The compiled passes as functions of tensors, with the signatures of their plain forms in kernels.py."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int, c_int64, c_void_p
from enum import IntEnum

import torch
from torch import Tensor

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class _Step(IntEnum):
    """As in passes.cpp."""

    NORM = 0
    NORM_RELU = 1
    NORM_ADD_RELU = 2
    NORM_ADD_NARROW_RELU = 3


class NativePasses:
    """The passes of one compiled library.

    Args:
        library: From `zotoolkit.engines.native.build`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        sizes = (c_int64, c_int64, c_int64, c_int)
        self._coefficients = _functions(library, "coefficients", (*(c_void_p,) * 4, c_int64, c_void_p, *sizes))
        self._pass = _functions(library, "pass", (c_int, *(c_void_p,) * 8, *sizes))
        self._spread = _functions(library, "spread", ((c_void_p,) * 5 + sizes))
        self._mean = _functions(library, "mean", (c_void_p, c_void_p, *sizes))

    def norm_coefficients(self, change: Tensor, normed: Tensor, gain: Tensor, variance: Tensor) -> Tensor | None:
        """Return the `(3, P, C)` float32 coefficients of a batch normalisation; None where the plain form must do."""
        if not _plain_memory(change, normed) or normed.ndim != 2 or gain.shape != variance.shape:
            return None
        candidates, _, channels = change.shape
        gain, variance = gain.float().contiguous(), variance.float().contiguous()
        out = torch.empty(3, candidates, channels)
        stride = channels if gain.ndim == 2 else 0
        self._coefficients[change.dtype](
            *map(_address, (change, normed, gain, variance)), stride, _address(out), *_sizes(change)
        )
        return out

    def norm_apply(self, change: Tensor, normed: Tensor, coefficients: Tensor, *, reuse: bool = False) -> Tensor | None:
        """Return the change behind a normalisation; None where the plain form must do."""
        return self._step(_Step.NORM, reuse, change, normed, coefficients)

    def norm_relu(
        self, change: Tensor, normed: Tensor, coefficients: Tensor, base: Tensor, *, reuse: bool = False
    ) -> Tensor | None:
        """Return the change behind a normalisation and a ReLU; None where the plain form must do."""
        return self._step(_Step.NORM_RELU, reuse, change, normed, coefficients, base)

    def norm_add_relu(
        self, change: Tensor, normed: Tensor, coefficients: Tensor, base: Tensor, other: Tensor, *, reuse: bool = False
    ) -> Tensor | None:
        """Return the change behind a normalisation, an addition and a ReLU; None where the plain form must do."""
        return self._step(_Step.NORM_ADD_RELU, reuse, change, normed, coefficients, base, other)

    def norm_add_narrow_relu(
        self,
        change: Tensor,
        normed: Tensor,
        coefficients: Tensor,
        base: Tensor,
        column: Tensor,
        index: Tensor,
        *,
        reuse: bool = False,
    ) -> Tensor | None:
        """Return the same with an addition along one channel a candidate; None where the plain form must do."""
        column = column.float().contiguous()
        return self._step(_Step.NORM_ADD_NARROW_RELU, reuse, change, normed, coefficients, base, None, column, index)

    def spread_channel(
        self,
        change: Tensor,
        table: Tensor,
        index: Tensor,
        dtype: torch.dtype,
        kernel: tuple[int, int],
        stride: tuple[int, int],
    ) -> Tensor | None:
        """Return what a convolution makes of one changed channel a candidate; None where the plain form must do."""
        if dtype not in _NAMES or change.dtype == torch.float64 or table.dtype == torch.float64:
            return None
        if change.device.type != "cpu":
            return None
        images, weights = change.float().contiguous(), table.float().contiguous()
        candidates, batch, height, width = images.shape
        rows, columns = (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1
        out = torch.empty(candidates, batch, rows, columns, weights.shape[-1], dtype=dtype)
        window = (c_int64 * 8)(height, width, rows, columns, *stride, *kernel)
        addresses = map(_address, (images, weights, index.contiguous(), out))
        self._spread[dtype](
            *addresses, ctypes.addressof(window), candidates, batch, weights.shape[-1], torch.get_num_threads()
        )
        return out

    def position_mean(self, change: Tensor) -> Tensor | None:
        """Return the mean over the positions; None where the plain form must do."""
        if not _plain_memory(change):
            return None
        out = change.new_empty(change.shape[0], change.shape[2])
        self._mean[change.dtype](_address(change), _address(out), *_sizes(change))
        return out

    def _step(
        self,
        step: _Step,
        reuse: bool,
        change: Tensor,
        normed: Tensor,
        coefficients: Tensor,
        base: Tensor | None = None,
        other: Tensor | None = None,
        column: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor | None:
        blocks = [value for value in (normed, base, other) if value is not None]
        if not _plain_memory(change, *blocks) or normed.ndim != 2:
            return None
        coefficients = coefficients.float().contiguous()
        index = None if index is None else index.contiguous()
        out = change if reuse else torch.empty_like(change)
        addresses = map(_address, (change, normed, coefficients, base, other, column, index, out))
        self._pass[change.dtype](int(step), *addresses, *_sizes(change))
        return out


def _functions(library: ctypes.CDLL, name: str, types: tuple[type, ...]) -> dict[torch.dtype, Callable[..., None]]:
    functions = {}
    for dtype, suffix in _NAMES.items():
        function = getattr(library, f"zo_{name}_{suffix}")
        function.argtypes, function.restype = types, None
        functions[dtype] = function
    return functions


def _plain_memory(change: Tensor, *others: Tensor) -> bool:
    """Return whether all lie in main memory without gaps, in one dtype that was compiled for."""
    return change.dtype in _NAMES and all(
        value.device.type == "cpu" and value.is_contiguous() and value.dtype == change.dtype
        for value in (change, *others)
    )


def _sizes(change: Tensor) -> tuple[int, int, int, int]:
    candidates, rows, channels = change.shape
    return candidates, rows, channels, torch.get_num_threads()


def _address(value: Tensor | None) -> int | None:
    return None if value is None else value.data_ptr()
