"""The residual denoiser DnCNN.

3x3 convolutions of one width: the first with bias and ReLU, those in the middle without bias, with batch norm and ReLU,
the last one alone and without bias. What comes out of them is the noise, and the network returns its input less that.
Source: Zhang et al., Beyond a Gaussian Denoiser, IEEE Trans. Image Processing 26(7), 2017; as a defense: Salman et al.,
Denoised Smoothing, NeurIPS 2020, who subtract inside the network too, so that one module maps images to images and can
stand in front of any classifier.

A network of depth D, width W and C channels has 18 W C + W + (D - 2) (9 W^2 + 2 W) parameters: 558,400 at depth 17,
width 64 and 3 channels, the published count, which fits only these biases. Weights start from He et al.'s normal law.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.checks import check_count


class DnCNN(nn.Module):
    """A denoiser from `(n, channels, h, w)` images to images of the same shape.

    Args:
        depth: Convolutions, at least 2.
        width: Channels between them.
        channels: Of the images.

    Raises:
        InvalidSetting: If depth is below 2 or another setting below 1.

    Examples:
        >>> [sum(p.numel() for p in DnCNN(*sizes).parameters()) for sizes in ((17, 64, 3), (4, 16, 1), (3, 4, 1))]
        [558400, 4976, 228]
    """

    def __init__(self, depth: int = 17, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        self.depth, self.width = check_count(depth, "depth", 2), check_count(width, "width")
        self.channels = check_count(channels, "channels")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv1"] = nn.Conv2d(channels, width, 3, padding=1)
        layers["relu1"] = nn.ReLU()
        for layer in range(2, depth):
            layers[f"conv{layer}"] = nn.Conv2d(width, width, 3, padding=1, bias=False)
            layers[f"bn{layer}"] = nn.BatchNorm2d(width)
            layers[f"relu{layer}"] = nn.ReLU()
        layers[f"conv{depth}"] = nn.Conv2d(width, channels, 3, padding=1, bias=False)
        self.noise = nn.Sequential(layers)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)
