"""Two convolutions on a periodic line, one to several channels and back, with ReLU between them.

A network this small is memory traffic and call overhead, not arithmetic. So both convolutions are products of tiny
matrices with one long one, the batch innermost, and nothing is padded or copied but the single input channel:

    hidden   (width, kernel) @ (kernel, (points + 2 r) B)     shifted views of the input; r = kernel // 2
    taps     (kernel, width) @ (width,  (points + 2 r) B)     what each hidden position gives to each neighbour
    output   sum_j taps[j] shifted by j

The input is extended by 2 r points on either side, so that the hidden layer is there beyond the ends too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief


class PeriodicConvolutions(nn.Module):
    """A network from `(B, points)` states to `(B, points)` corrections, for any number of points.

    Its parameters are those of `conv1` and `conv2`, two `torch.nn.Conv1d` with circular padding: (kernel + 1) width
    and kernel width + 1 numbers, 89 by default.

    Args:
        width: Channels between the convolutions.
        kernel: Points that a convolution sees; odd.
        last_scale: What the last convolution's initial weights are multiplied by, so that the corrected solver starts
            out close to the uncorrected one.

    Raises:
        InvalidSetting: If width or kernel is below 1, kernel even or last_scale not above 0.

    Examples:
        >>> network = PeriodicConvolutions()
        >>> sum(p.numel() for p in network.parameters())
        89
        >>> network(torch.zeros(3, 48)).shape
        torch.Size([3, 48])
    """

    def __init__(self, width: int = 8, kernel: int = 5, last_scale: float = 1e-3) -> None:
        super().__init__()
        self.width, self.kernel = check_count(width, "width"), check_count(kernel, "kernel")
        if kernel % 2 == 0:
            raise InvalidSetting(f"kernel must be odd, so that it has a middle, got {brief(kernel)}.")
        padding = {"padding": kernel // 2, "padding_mode": "circular"}
        self.conv1 = nn.Conv1d(1, width, kernel, **padding)
        self.conv2 = nn.Conv1d(width, 1, kernel, **padding)
        with torch.no_grad():
            self.conv2.weight *= check_positive(last_scale, "last_scale")
            self.conv2.bias.zero_()  # pyright: ignore[reportOptionalMemberAccess]

    @override
    def forward(self, state: Tensor) -> Tensor:
        """Return the correction.

        Args:
            state: `(B, points)`, with at least kernel - 1 points.

        Raises:
            InvalidState: If state has another number of axes or too few points.
        """
        reach = self.kernel - 1
        if state.ndim != 2 or state.shape[1] < max(1, reach):
            raise InvalidState(f"the network takes (B, points) states of at least {reach} points, got {brief(state)}.")
        count, points = state.shape
        line = state.t()
        line = torch.cat((line[points - reach :], line, line[:reach])) if reach else line
        inner = points + reach  # positions at which the hidden layer is computed
        shifted = line.unfold(0, inner, 1).transpose(1, 2).reshape(self.kernel, inner * count)
        hidden = torch.addmm(self.conv1.bias[:, None], self.conv1.weight[:, 0], shifted).relu()  # pyright: ignore[reportOptionalSubscript]
        taps = (self.conv2.weight[0].t() @ hidden).view(self.kernel, inner, count)
        output = taps[0, :points] + self.conv2.bias  # pyright: ignore[reportOperatorIssue]
        for j in range(1, self.kernel):
            output = output + taps[j, j : j + points]
        return output.t()
