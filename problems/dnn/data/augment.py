"""Augmentation: images that differ a little each time they are used, as a pure function of a seed.

Random crop after zero padding, and horizontal flip: what He et al. 2016 train CIFAR with, and DeepZero after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief

Augment = Callable[[Tensor, int], Tensor]
"""`augment(inputs, seed)` returns inputs of the same shape, a pure function of both."""


@dataclass(frozen=True)
class CropFlip:
    """Shift each image by up to `padding` pixels along both axes, zeros coming in, and mirror every second one.

    Works on raw images, before they are normalised, so that zeros are black; on any device and in any dtype. Draws are
    made on the CPU: all devices see the same crops.

    Args:
        padding: Most pixels that an image is shifted by, in each direction.
        flip: Whether to mirror it from left to right with probability one half.

    Raises:
        InvalidSetting: If padding is no integer of at least 0; when called, if the inputs are no images.

    Examples:
        >>> image = torch.arange(4).view(1, 1, 2, 2)
        >>> CropFlip(padding=0)(image, seed=1).flatten().tolist() in ([0, 1, 2, 3], [1, 0, 3, 2])
        True
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        check_count(self.padding, "padding", 0)

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Return `(n, c, h, w)` images made of `(n, c, h, w)` ones."""
        if images.ndim != 4:
            raise InvalidSetting(f"images must have shape (n, channels, height, width), got {brief(images)}.")
        count, channels, height, width = images.shape
        generator = torch.Generator().manual_seed(seed)
        shifts = torch.randint(0, 2 * self.padding + 1, (2, count, 1), generator=generator)
        mirrored = torch.randint(0, 2, (count, 1), generator=generator, dtype=torch.bool) & self.flip
        rows = torch.arange(height) + shifts[0]
        columns = torch.arange(width)
        columns = torch.where(mirrored, columns.flip(0), columns) + shifts[1]
        padded = functional.pad(images, (self.padding,) * 4)
        device = images.device
        return padded[
            torch.arange(count, device=device)[:, None, None, None],
            torch.arange(channels, device=device)[:, None, None],
            rows.to(device)[:, None, :, None],
            columns.to(device)[:, None, None, :],
        ]
