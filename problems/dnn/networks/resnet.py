"""Residual networks for 32x32 images: ResNet-20, 32, 44, 56 and 110.

Depth 6n + 2: a 3x3 convolution, three stages of n blocks of two 3x3 convolutions with 16, 32 and 64 channels, the
second and third stage halving the image, global average pooling and a linear layer. Shortcuts have no parameters
("option A"): where the shape changes, every second pixel is taken and channels of zeros are added, half of them on
either side.

Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2. Weights start from He et al.'s
normal law (ICCV 2015, by fan-in). Parameters, 10 classes: 269,722 / 464,154 / 658,586 / 853,018 / 1,727,962.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting


class OptionAShortcut(nn.Module):
    """A shortcut without parameters between shapes that differ.

    Plain operations only, so that tracing sees one strided slice and one padding.

    Args:
        before: Channels that come in.
        after: Channels that go out, at least as many.
        stride: Every how manyth pixel is kept, along both axes.

    Raises:
        InvalidSetting: If channels would be lost.

    Examples:
        >>> OptionAShortcut(2, 4, 2)(torch.ones(1, 2, 4, 4)).sum((0, 2, 3)).tolist()
        [0.0, 4.0, 4.0, 0.0]
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        if after < before:
            raise InvalidSetting(f"a shortcut cannot drop channels, got {before} before and {after} after.")
        self.stride = stride
        self.front = (after - before) // 2
        self.back = after - before - self.front

    @override
    def forward(self, x: Tensor) -> Tensor:
        kept = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(kept, (0, 0, 0, 0, self.front, self.back))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and the shortcut around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else OptionAShortcut(before, after, stride)

    @override
    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """A residual network, from `(n, in_channels, h, w)` images to `(n, classes)` scores.

    Args:
        depth: 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...
        classes: Scores that come out.
        in_channels: Of the images.
        width: Channels of the first stage; the next two have twice and four times as many.

    Raises:
        InvalidSetting: If depth is none of these, or another setting is below 1.

    Examples:
        >>> sum(p.numel() for p in CifarResNet(20).parameters())
        269722
    """

    def __init__(self, depth: int = 20, classes: int = 10, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        blocks, rest = divmod(check_count(depth, "depth", 8) - 2, 6)
        if rest:
            raise InvalidSetting(f"depth must be 6n + 2, such as 20, 32, 44, 56 or 110, got {depth}.")
        for name, value in {"classes": classes, "in_channels": in_channels, "width": width}.items():
            check_count(value, name)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(blocks, width, width, 1)
        self.layer2 = _stage(blocks, width, 2 * width, 2)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, 2)
        self.fc = nn.Linear(4 * width, classes)
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(part.weight)

    @override
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def _stage(blocks: int, before: int, after: int, stride: int) -> nn.Sequential:
    first = BasicBlock(before, after, stride)
    return nn.Sequential(first, *(BasicBlock(after, after, 1) for _ in range(blocks - 1)))
