"""The larger network of Solver-in-the-Loop: residual blocks of convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from problems.pde.correctors.plain_convolutions import PaddingMode, check_fields, convolution, start_small
from zotoolkit.checks import check_count

_SLOPE = 0.3  # of a leaky ReLU in Keras, which the paper's networks are written in


class MarsMoon(nn.Module):
    """From `(B, 3, H, W)` to `(B, 2, H, W)`: a convolution, residual blocks, a convolution; 260,354 parameters.

    A block is x -> leaky(x + conv(leaky(conv(x)))). All kernels are 5 x 5, and leaky ReLU has slope 0.3 below 0.

    Args:
        width: Channels within.
        blocks: Residual blocks.
        inputs: Channels of the input.
        outputs: Channels of the output.
        padding_mode: What lies beyond the sides: "zeros" as in the paper, "circular" for a periodic domain, "reflect"
            or "replicate".
        last_scale: What the last convolution's initial weights are multiplied by, so that the corrected solver starts
            out close to the uncorrected one; its bias starts at 0. The paper does not scale (1).

    Raises:
        InvalidSetting: If an argument is out of its range.

    Examples:
        >>> sum(p.numel() for p in MarsMoon().parameters())
        260354

    Source: Um, Brand, Fei, Holl and Thuerey, Solver-in-the-Loop, NeurIPS 2020 (and its published code).
    """

    def __init__(
        self,
        width: int = 32,
        blocks: int = 5,
        *,
        inputs: int = 3,
        outputs: int = 2,
        padding_mode: PaddingMode = "zeros",
        last_scale: float = 1e-3,
    ) -> None:
        super().__init__()
        width, self.inputs = check_count(width, "width"), check_count(inputs, "inputs")
        self.first = convolution(self.inputs, width, 5, padding_mode)
        self.blocks = nn.ModuleList(_Block(width, padding_mode) for _ in range(check_count(blocks, "blocks")))
        self.last = convolution(width, check_count(outputs, "outputs"), 5, padding_mode)
        start_small(self.last, last_scale)

    @override
    def forward(self, fields: Tensor) -> Tensor:
        """Return the `(B, outputs, H, W)` correction.

        Args:
            fields: `(B, inputs, H, W)`, of any height and width.

        Raises:
            InvalidState: If fields has another number of axes or channels.
        """
        check_fields(fields, self.inputs)
        x = functional.leaky_relu(self.first(fields), _SLOPE)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class _Block(nn.Module):
    def __init__(self, width: int, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.conv1 = convolution(width, width, 5, padding_mode)
        self.conv2 = convolution(width, width, 5, padding_mode)

    @override
    def forward(self, x: Tensor) -> Tensor:
        inner = functional.leaky_relu(self.conv1(x), _SLOPE)
        return functional.leaky_relu(x + self.conv2(inner), _SLOPE)
