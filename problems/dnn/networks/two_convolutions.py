"""A small network of two 3x3 convolutions, each followed by 2x2 max pooling, and a linear layer.

With 8 channels, one input channel and 8x8 images it has 80 + 1,168 + 650 = 1,898 parameters.
"""

from __future__ import annotations

from torch import nn

from problems.dnn.networks.activations import ACTIVATIONS
from zotoolkit.checks import check_choice, check_count
from zotoolkit.errors import InvalidSetting


def two_convolutions(
    channels: int = 8, classes: int = 10, in_channels: int = 1, size: int = 8, activation: str = "relu"
) -> nn.Sequential:
    """Return the network, from `(n, in_channels, size, size)` images to `(n, classes)` scores.

    Args:
        channels: Of the first convolution; the second has twice as many.
        classes: Scores that come out.
        in_channels: Of the images.
        size: Height and width of the images, at least 4.
        activation: "relu", "leaky_relu", "gelu", "tanh" or "sigmoid".

    Raises:
        InvalidSetting: If a setting is out of range.

    Examples:
        >>> sum(p.numel() for p in two_convolutions().parameters())
        1898
    """
    for name, value in {"channels": channels, "classes": classes, "in_channels": in_channels}.items():
        check_count(value, name)
    check_choice(activation, tuple(ACTIVATIONS), "activation")
    if check_count(size, "size") < 4:
        raise InvalidSetting(f"size must be at least 4, the image is halved twice; got {size}.")
    act = ACTIVATIONS[activation]
    return nn.Sequential(
        *(nn.Conv2d(in_channels, channels, 3, padding=1), act(), nn.MaxPool2d(2)),
        *(nn.Conv2d(channels, 2 * channels, 3, padding=1), act(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(2 * channels * (size // 4) ** 2, classes)),
    )
