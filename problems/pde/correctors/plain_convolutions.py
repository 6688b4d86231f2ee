"""Plain stacks of two-dimensional convolutions that keep the grid, from the smallest that helps to the papers' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief

PaddingMode = Literal["zeros", "circular", "reflect", "replicate"]
PADDING_MODES = ("zeros", "circular", "reflect", "replicate")


class PlainConvolutions(nn.Module):
    """Convolutions one after the other, an activation between them, from `(B, C, H, W)` to `(B, O, H, W)`.

    Args:
        channels: Of the input, between the convolutions, and of the output; two numbers or more.
        kernel: Points a side that a convolution sees; odd.
        padding_mode: What lies beyond the sides: "zeros" as in the papers, "circular" for a periodic domain, "reflect"
            or "replicate".
        activation: Makes the module between two convolutions.
        last_scale: What the last convolution's initial weights are multiplied by, so that the corrected solver starts
            out close to the uncorrected one; its bias starts at 0.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Examples:
        >>> network = PlainConvolutions((3, 8, 2))
        >>> sum(p.numel() for p in network.parameters())
        370
        >>> network(torch.zeros(5, 3, 64, 32)).shape
        torch.Size([5, 2, 64, 32])
    """

    def __init__(
        self,
        channels: Sequence[int] = (3, 6, 2),
        kernel: int = 3,
        *,
        padding_mode: PaddingMode = "zeros",
        activation: Callable[[], nn.Module] = nn.ReLU,
        last_scale: float = 1e-3,
    ) -> None:
        super().__init__()
        self.channels = _check_channels(channels)
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(zip(self.channels[:-1], self.channels[1:], strict=True)):
            if number:
                layers.append(_check_activation(activation))
            layers.append(convolution(inputs, outputs, kernel, padding_mode))
        start_small(layers[-1], last_scale)
        self.layers = nn.Sequential(*layers)

    @override
    def forward(self, fields: Tensor) -> Tensor:
        """Return the `(B, O, H, W)` correction.

        Args:
            fields: `(B, C, H, W)`, of any height and width.

        Raises:
            InvalidState: If fields has another number of axes or channels.
        """
        check_fields(fields, self.channels[0])
        return self.layers(fields)


class SmallConvolutions(PlainConvolutions):
    """3 -> 6 -> 2 channels by kernels of 3 x 3: 278 parameters, few enough to query each of them.

    With softsign, x / (1 + |x|), between them: what it adds to a state is bounded, and long roll-outs stay on track.
    On the wake flow, trained over 4 steps, 4 of 24 networks with ReLU (rates of 1e-3 to 5e-3) went astray within 100
    steps, and none of 15 with softsign or tanh (3e-3 and 1e-2).

    Args:
        padding_mode: As in `PlainConvolutions`.
        last_scale: As in `PlainConvolutions`.

    Examples:
        >>> sum(p.numel() for p in SmallConvolutions().parameters())
        278
    """

    def __init__(self, padding_mode: PaddingMode = "zeros", last_scale: float = 1e-3) -> None:
        super().__init__((3, 6, 2), 3, padding_mode=padding_mode, activation=nn.Softsign, last_scale=last_scale)


class MediumConvolutions(PlainConvolutions):
    """3 -> 16 -> 16 -> 2 channels by kernels of 5 x 5 and softsign: 8,434 parameters.

    Args:
        padding_mode: As in `PlainConvolutions`.
        last_scale: As in `PlainConvolutions`.

    Examples:
        >>> sum(p.numel() for p in MediumConvolutions().parameters())
        8434
    """

    def __init__(self, padding_mode: PaddingMode = "zeros", last_scale: float = 1e-3) -> None:
        super().__init__((3, 16, 16, 2), 5, padding_mode=padding_mode, activation=nn.Softsign, last_scale=last_scale)


class Mercury(PlainConvolutions):
    """The papers' smaller network: 3 -> 32 -> 64 -> 2 channels by kernels of 5 x 5, ReLU, 56,898 parameters.

    Args:
        padding_mode: As in `PlainConvolutions`; the paper pads with zeros.
        last_scale: As in `PlainConvolutions`; the paper does not scale (1).

    Examples:
        >>> sum(p.numel() for p in Mercury().parameters())
        56898

    Source: Um, Brand, Fei, Holl and Thuerey, Solver-in-the-Loop, NeurIPS 2020 (and its published code).
    """

    def __init__(self, padding_mode: PaddingMode = "zeros", last_scale: float = 1e-3) -> None:
        super().__init__((3, 32, 64, 2), 5, padding_mode=padding_mode, last_scale=last_scale)


def convolution(inputs: int, outputs: int, kernel: int, padding_mode: PaddingMode) -> nn.Conv2d:
    """Return a convolution that keeps height and width.

    Raises:
        InvalidSetting: If kernel is not odd or padding_mode unknown.
    """
    if check_count(kernel, "kernel") % 2 == 0:
        raise InvalidSetting(f"kernel must be odd, so that it has a middle, got {brief(kernel)}.")
    check_choice(padding_mode, PADDING_MODES, "padding_mode")
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode=padding_mode)


def start_small(layer: nn.Module, scale: float) -> None:
    """Multiply a convolution's weights by the scale and set its bias to 0, in place.

    Raises:
        InvalidSetting: If scale is not above 0.
    """
    scale = check_positive(scale, "last_scale")
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.mul_(0.0 if name == "bias" else scale)


def check_fields(fields: object, channels: int) -> None:
    """Check what a network is given.

    Raises:
        InvalidState: If it is no `(B, channels, H, W)` tensor.
    """
    if not isinstance(fields, Tensor) or fields.ndim != 4 or fields.shape[1] != channels:
        raise InvalidState(f"the network takes (B, {channels}, H, W) fields, got {brief(fields)}.")


def _check_channels(channels: object) -> tuple[int, ...]:
    counts = list(channels) if isinstance(channels, Sequence) and not isinstance(channels, str) else []
    if len(counts) < 2:
        raise InvalidSetting(f"channels must be two numbers or more, such as (3, 6, 2), got {brief(channels)}.")
    return tuple(check_count(count, "each number in channels") for count in counts)


def _check_activation(activation: Callable[[], nn.Module]) -> nn.Module:
    made = activation() if callable(activation) else None
    if not isinstance(made, nn.Module):
        raise InvalidSetting(f"activation must make a module when called, such as nn.ReLU, got {brief(activation)}.")
    return made
