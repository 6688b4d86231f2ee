"""Convolutional auto-encoders with a flat latent.

The encoder halves the image with each strided convolution (quarters it with the first, from 32 pixels on) and doubles
its channels, until 2 or an odd number of pixels are left, which one more convolution takes into the latent. The decoder
is its mirror image, with a sigmoid at the end. Kernels are 4, 3, 4, 3, ... and all layers have biases: with 32 pixels,
3 channels, width 24 and a latent of 192,

    encoder   3 -4x4-> 24 -3x3-> 48 -4x4-> 96 -2x2-> 192     159,336 parameters
    decoder   the same backwards                             159,147 parameters

which are the counts of Zhang et al., ICLR 2022, for CIFAR-10. The strides are this module's own, and so is that nothing
cuts the latent off at 0: an estimate moves it to both sides of where it is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief


class _Stage(NamedTuple):
    """A strided convolution of the encoder."""

    kernel: int
    stride: int
    padding: int

    @property
    def output_padding(self) -> int:
        """What the mirrored convolution adds so that it returns to the same size."""
        return self.stride - self.kernel + 2 * self.padding


def _stages(size: int) -> tuple[list[_Stage], int]:
    """Return the strided convolutions for images of so many pixels, and how many pixels they leave."""
    stages: list[_Stage] = []
    left = size
    if size >= 32:
        stages.append(_Stage(4, 4, 0))
        left //= 4
    while left % 2 == 0 and left > 2:
        stages.append(_Stage(3, 2, 1) if len(stages) % 2 else _Stage(4, 2, 1))
        left //= 2
    return stages, left


def _checked(size: int, channels: int, latent: int, width: int) -> None:
    """Check the sizes.

    Raises:
        InvalidSetting: If one is below 1, or the images' is no multiple of 4.
    """
    for name, value in {"channels": channels, "latent": latent, "width": width}.items():
        check_count(value, name)
    if check_count(size, "size") % 4:
        raise InvalidSetting(f"size must be a multiple of 4 pixels, got {size}; pad the images.")


class Encoder(nn.Module):
    """From `(n, channels, size, size)` images to `(n, latent)` numbers.

    Args:
        size: Height and width of the images, a multiple of 4.
        channels: Of the images.
        latent: d_z, how many numbers stand for an image.
        width: Channels of the first layer; each of the next has twice as many.

    Raises:
        InvalidSetting: If size is no multiple of 4, or a setting is below 1.

    Examples:
        >>> sum(p.numel() for p in Encoder().parameters()), sum(p.numel() for p in Encoder(8, 1, 16, 8).parameters())
        (159336, 2344)
    """

    def __init__(self, size: int = 32, channels: int = 3, latent: int = 192, width: int = 24) -> None:
        super().__init__()
        _checked(size, channels, latent, width)
        self.size, self.channels, self.latent, self.width = size, channels, latent, width
        stages, left = _stages(size)
        widths = [channels, *(width << depth for depth in range(len(stages)))]
        layers: list[nn.Module] = []
        for (before, after), stage in zip(pairwise(widths), stages, strict=True):
            layers += [nn.Conv2d(before, after, stage.kernel, stage.stride, stage.padding), nn.ReLU()]
        layers += [nn.Conv2d(widths[-1], latent, left), nn.Flatten()]
        self.layers = nn.Sequential(*layers)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    """From `(n, latent)` numbers to `(n, channels, size, size)` images in (0, 1).

    Args:
        size: Height and width of the images, a multiple of 4.
        channels: Of the images.
        latent: d_z.
        width: Channels of the last layer but one, as the encoder's first has.

    Raises:
        InvalidSetting: If size is no multiple of 4, or a setting is below 1.

    Examples:
        >>> sum(p.numel() for p in Decoder().parameters()), sum(p.numel() for p in Decoder(8, 1, 16, 8).parameters())
        (159147, 2329)
    """

    def __init__(self, size: int = 32, channels: int = 3, latent: int = 192, width: int = 24) -> None:
        super().__init__()
        _checked(size, channels, latent, width)
        self.size, self.channels, self.latent, self.width = size, channels, latent, width
        stages, left = _stages(size)
        widths = [channels, *(width << depth for depth in range(len(stages)))]
        layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1)), nn.ConvTranspose2d(latent, widths[-1], left)]
        for (before, after), stage in zip(pairwise(reversed(widths)), reversed(stages), strict=True):
            mirrored = nn.ConvTranspose2d(
                before, after, stage.kernel, stage.stride, stage.padding, output_padding=stage.output_padding
            )
            layers += [nn.ReLU(), mirrored]
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    @override
    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class AutoEncoder(nn.Module):
    """An encoder and the decoder behind it, from images to images.

    Args:
        encoder: Images to latents.
        decoder: Latents to images of the same size.

    Raises:
        InvalidSetting: If they do not fit together.

    Examples:
        >>> import torch
        >>> network = AutoEncoder.of(size=8, channels=1, latent=16, width=8)
        >>> network(torch.zeros(2, 1, 8, 8)).shape, network.encoder(torch.zeros(2, 1, 8, 8)).shape
        (torch.Size([2, 1, 8, 8]), torch.Size([2, 16]))
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        for part, kind in ((encoder, Encoder), (decoder, Decoder)):
            if not isinstance(part, kind):
                raise InvalidSetting(f"an auto-encoder takes an {kind.__name__} in its place, got {brief(part)}.")
        for name in ("size", "channels", "latent"):
            before, after = getattr(encoder, name), getattr(decoder, name)
            if before != after:
                raise InvalidSetting(f"encoder and decoder must have the same {name}, got {before} and {after}.")
        self.encoder, self.decoder = encoder, decoder

    @classmethod
    def of(cls, size: int = 32, channels: int = 3, latent: int = 192, width: int = 24) -> AutoEncoder:
        """Return an encoder and a decoder of the same sizes."""
        return cls(Encoder(size, channels, latent, width), Decoder(size, channels, latent, width))

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
