"""The adjustable CNN that DeepZero compares estimators on.

Each layer is a 3x3 convolution with bias, batch norm, ReLU and 2x2 max pooling; global average pooling and a linear
layer follow. Source: Chen et al., DeepZero, ICLR 2024. With 18 channels, 3 input channels and 10 classes it has

    504 + 36 + 190 + 2,970 (depth - 1) = 730 / 3,700 / 6,670 / 9,640 / 12,610 parameters,

the paper's counts, which fit only if both convolutions and the linear layer have biases.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting


def deepzero_cnn(
    depth: int = 3, channels: int = 18, classes: int = 10, in_channels: int = 3, size: int = 32
) -> nn.Sequential:
    """Return the network, from `(n, in_channels, size, size)` images to `(n, classes)` scores.

    Args:
        depth: Convolutional layers; each halves the image, so 1 to 5 for 32 pixels.
        channels: Of every convolution.
        classes: Scores that come out.
        in_channels: Of the images.
        size: Height and width of the images, to say early when depth is too much for it.

    Raises:
        InvalidSetting: If a setting is below 1, or the image is gone before the last layer.

    Examples:
        >>> sum(p.numel() for p in deepzero_cnn(depth=3).parameters())
        6670
    """
    settings = {"channels": channels, "classes": classes, "in_channels": in_channels, "size": size}
    for name, value in settings.items():
        check_count(value, name)
    most = size.bit_length() - 1
    if check_count(depth, "depth") > most:
        raise InvalidSetting(
            f"depth must be at most {most} for images of {size} pixels, each layer halves them; got {depth}."
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in range(1, depth + 1):
        layers[f"conv{layer}"] = nn.Conv2d(in_channels if layer == 1 else channels, channels, 3, padding=1)
        layers[f"bn{layer}"] = nn.BatchNorm2d(channels)
        layers[f"relu{layer}"] = nn.ReLU()
        layers[f"pool{layer}"] = nn.MaxPool2d(2)
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, classes)
    return nn.Sequential(layers)
