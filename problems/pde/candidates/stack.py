"""Stacks of plain convolutions, run for many candidates by compiled code with weights of their own for each.

With so few channels neither torch's kernels nor matrix products fill the processor's vectors, whichever way candidates
are batched. The compiled stack (native/convolutions.cpp) lays its vectors along x, keeps what lies between the layers
in the cache, and copies a few hundred weights rather than sharing them. On one core, 64 x 32 cells, float32,
microseconds a state and, in brackets, billions of operations a second:

    parameters     compiled      one weight each, shared     vmap
    278             20 (57)      120                          155
    8,434          365 (94)      668                         1180

A core of that processor does some 110 billion a second at most: the smallest network could take 10 microseconds, and
MarsMoon, which runs on torch's kernels, is at that limit already (10.8 milliseconds).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from ctypes import c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import Self

from problems.pde.correctors.periodic_convolutions import PeriodicConvolutions
from problems.pde.correctors.plain_convolutions import PADDING_MODES, PlainConvolutions
from zotoolkit.engines.base import points_that_fit
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.engines.native.build import load
from zotoolkit.queries import CoordinateBatch, QueryBatch

_NAMES = {torch.float32: "stack_float32", torch.float64: "stack_float64"}
ACTIVATIONS = ("leaky", "softsign")
_ONE = (1,)  # the height of a line
_ARGUMENTS = (
    *(c_int64, c_void_p, c_void_p),  # layers, channels, biased
    *(c_int64, c_int64, c_int),  # kernel, padding
    *(c_int, c_double),  # activation, slope
    *(c_int64,) * 4,  # height, width, candidates, states of each
    *(c_void_p,) * 6,  # base, points, index, scale, inputs, outputs
    c_int,  # threads
)


@dataclass(frozen=True)
class Stack:
    """A stack of convolutions of one kernel and padding, stride 1, that keep the grid.

    Attributes:
        channels: Of the input and of each convolution's output.
        biased: Whether each convolution has a bias.
        kernel: Points it sees in each dimension.
        padding_mode: One of `PADDING_MODES`.
        activation: Between convolutions: "leaky" or "softsign".
        slope: Of a leaky ReLU below 0; 0 for ReLU.
        dtype: Of the parameters.
        axes: Of a state: the channels, unless there is but one that has no axis, and the kernel's dimensions.
    """

    channels: tuple[int, ...]
    biased: tuple[bool, ...]
    kernel: tuple[int, ...]
    padding_mode: str
    activation: str
    slope: float
    dtype: torch.dtype
    axes: int

    @classmethod
    def of(cls, module: nn.Module, layout: ParameterLayout) -> Self | None:
        """Return what a module is as a stack, None where it is none or some parameters are not trained.

        `PlainConvolutions` and `PeriodicConvolutions` are stacks, and so are torch's own layers in an `nn.Sequential`.
        """
        layers = _layers(module)
        convolutions = [layer for layer in layers[::2] if isinstance(layer, (nn.Conv1d, nn.Conv2d))]
        between = layers[1::2]
        if not len(layers) % 2 or len(layers) != len(convolutions) + len(between):
            return None
        if any(layer._forward_hooks or layer._forward_pre_hooks for layer in (module, *layers)):
            return None
        first = convolutions[0]
        if not all(_is_alike(layer, first) for layer in convolutions):
            return None
        kinds = {_activation(layer) for layer in between} or {("leaky", 0.0)}
        kind = kinds.pop()
        wanted = [p for layer in convolutions for p in (layer.weight, layer.bias) if p is not None]
        named = dict(module.named_parameters())
        laid_out = [named[slot.name] for slot in layout.slots]
        if kinds or kind is None or [id(p) for p in wanted] != [id(p) for p in laid_out]:
            return None
        if any(slot.dtype != layout.dtype for slot in layout.slots) or layout.dtype not in _NAMES:
            return None
        return cls(
            (first.in_channels, *(layer.out_channels for layer in convolutions)),
            tuple(layer.bias is not None for layer in convolutions),
            first.kernel_size,
            first.padding_mode,
            *kind,
            layout.dtype,
            len(first.kernel_size) + (not isinstance(module, PeriodicConvolutions)),
        )

    def takes(self, inputs: Tensor) -> bool:
        """Return whether `candidates_of` can answer such `(P, W, *I)` inputs: on a CPU, with a grid that fits."""
        if inputs.ndim != 2 + self.axes or inputs.dtype != self.dtype or inputs.device.type != "cpu":
            return False
        if self.axes > len(self.kernel) and inputs.shape[2] != self.channels[0]:
            return False
        for size, kernel in zip(inputs.shape[-len(self.kernel) :], self.kernel, strict=True):
            reach = kernel // 2 if self.axes > len(self.kernel) else kernel - 1
            if size < max(1, {"zeros": 1, "replicate": 1, "circular": reach, "reflect": reach + 1}[self.padding_mode]):
                return False
        return _library() is not None

    def candidates_of(self, batch: QueryBatch) -> Callable[[Tensor], Tensor]:
        """Return what answers `(P, W, *I)` inputs of the batch's P candidates that `takes` accepts."""
        if isinstance(batch, CoordinateBatch):
            return lambda inputs: self._run(inputs, batch.base, None, batch)
        fitting = points_that_fit(batch)
        kept = batch.points() if len(batch) <= fitting else None

        def parts() -> Iterator[Tensor]:
            return iter((kept,)) if kept is not None else (part.points() for part in batch.split(fitting))

        def answer(inputs: Tensor) -> Tensor:
            outputs = [
                self._run(part, batch.base, points, None)
                for part, points in zip(inputs.split(fitting), parts(), strict=True)
            ]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

        return answer

    def _run(self, inputs: Tensor, base: Tensor, points: Tensor | None, changes: CoordinateBatch | None) -> Tensor:
        """Return the outputs; candidates are at the points, or at the base with a change each."""
        library = _library()
        if library is None:
            raise RuntimeError("the stack is not compiled; ask takes() first.")
        inputs = inputs.contiguous()
        candidates, each, grid = *inputs.shape[:2], inputs.shape[-len(self.kernel) :]
        if self.axes > len(self.kernel):
            output = inputs.new_empty(candidates, each, self.channels[-1], *grid)
        else:  # lines without channels: those of a candidate are rows of one state, of which the kernel sees one
            output, grid, each = torch.empty_like(inputs), (each, *grid), 1
        last = len(self.channels) - 1
        arrays = [
            base.contiguous(),
            *(() if points is None else (points.contiguous(),)),
            *(() if changes is None else (changes.index.contiguous(), changes.scale.contiguous())),
        ]
        address = [array.data_ptr() for array in arrays]
        weights = (address[0], address[1], None, None) if changes is None else (address[0], None, *address[1:])
        getattr(library, _NAMES[self.dtype])(
            last,
            (c_int64 * (last + 1))(*self.channels),
            (c_int * last)(*self.biased),
            *(*_ONE, *self.kernel)[-2:],
            PADDING_MODES.index(self.padding_mode),
            *(ACTIVATIONS.index(self.activation) + 1, self.slope),
            *(*_ONE, *grid)[-2:],
            *(candidates, each),
            *weights,
            inputs.data_ptr(),
            output.data_ptr(),
            torch.get_num_threads(),
        )
        return output


@functools.cache
def _library() -> ctypes.CDLL | None:
    found = load("problems.pde.candidates.native", "convolutions", "candidates' convolutions run by torch, slower")
    if found is not None:
        for name in _NAMES.values():
            getattr(found, name).argtypes = _ARGUMENTS
            getattr(found, name).restype = None
    return found


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return convolutions and what stands between them, alternating; none if the module is no such thing."""
    forward = type(module).forward
    if isinstance(module, PeriodicConvolutions) and forward is PeriodicConvolutions.forward:
        return [module.conv1, nn.ReLU(), module.conv2]
    plain = isinstance(module, PlainConvolutions) and forward is PlainConvolutions.forward
    inner = module.layers if plain else module
    return list(inner) if type(inner) is nn.Sequential else []


def _is_alike(layer: nn.Conv1d | nn.Conv2d, first: nn.Conv1d | nn.Conv2d) -> bool:
    return (
        type(layer) is type(first)
        and type(layer) in (nn.Conv1d, nn.Conv2d)
        and layer.kernel_size == first.kernel_size
        and all(side % 2 for side in layer.kernel_size)
        and layer.padding in (tuple(side // 2 for side in layer.kernel_size), "same")
        and set(layer.stride) == set(layer.dilation) == {1}
        and layer.groups == 1
        and layer.padding_mode == first.padding_mode
    )


def _activation(layer: nn.Module) -> tuple[str, float] | None:
    """Return the kind of a layer between convolutions and a leaky ReLU's slope below 0; None for any other layer."""
    if type(layer) is nn.LeakyReLU:
        return "leaky", layer.negative_slope
    return {nn.ReLU: ("leaky", 0.0), nn.Softsign: ("softsign", 0.0)}.get(type(layer))
