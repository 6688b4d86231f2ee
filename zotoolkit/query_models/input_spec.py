"""What images a classifier takes: shape, range, and what it does to them before it looks at them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor
from typing_extensions import Self

from zotoolkit.errors import InvalidImages, InvalidSetting, brief


@dataclass(frozen=True)
class InputSpec:
    """Shape and range of the images that a classifier takes.

    Images outside the range are passed on as they are, since noise must not be clipped before it is added and a
    classifier may be asked about noisy images. `levels` and `clip` change what is sent; they are part of the black box.

    Args:
        shape: Of one image, such as (3, 32, 32).
        low: Lower end of the range that images are meant to lie in.
        high: Upper end.
        levels: Images are clipped to [low, high] and rounded to so many equally spaced values before they are sent:
            256 for a service that takes 8-bit images. None leaves them as they are.
        clip: Whether images are clipped to [low, high] before they are sent; `levels` clips anyway.

    Raises:
        InvalidSetting: If the shape holds anything but integers of at least 1, low is not below high, or there are
            fewer than two levels.

    Examples:
        >>> spec = InputSpec((2,), levels=5)
        >>> spec.prepare(torch.tensor([[0.3, -2.0], [0.6, 1.5]])).tolist()
        [[0.25, 0.0], [0.5, 1.0]]
    """

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0
    levels: int | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        try:
            sizes = tuple(self.shape)
        except TypeError:
            sizes = ()
        if not sizes or any(isinstance(n, bool) or not isinstance(n, Integral) or n < 1 for n in sizes):
            raise InvalidSetting(f"shape must be that of one image, such as (3, 32, 32), got {brief(self.shape)}.")
        object.__setattr__(self, "shape", tuple(int(n) for n in sizes))
        for name, end in (("low", self.low), ("high", self.high)):
            if isinstance(end, bool) or not isinstance(end, Real) or not math.isfinite(end):
                raise InvalidSetting(f"{name} must be a finite number, got {brief(end)}.")
            object.__setattr__(self, name, float(end))
        if not self.low < self.high:
            raise InvalidSetting(f"low must be below high, got low={self.low:g} and high={self.high:g}.")
        if self.levels is not None:
            if isinstance(self.levels, bool) or not isinstance(self.levels, Integral) or self.levels < 2:
                raise InvalidSetting(f"levels must be an integer of at least 2, or None, got {brief(self.levels)}.")
            object.__setattr__(self, "levels", int(self.levels))
        if not isinstance(self.clip, bool):
            raise InvalidSetting(f"clip must be True or False, got {brief(self.clip)}.")

    @classmethod
    def of(cls, given: InputSpec | tuple[int, ...]) -> InputSpec:
        """Return the spec as it is, or one of images of that shape in [0, 1].

        Raises:
            InvalidSetting: If it is neither a spec nor a shape.
        """
        return given if isinstance(given, InputSpec) else cls(given)

    @property
    def size(self) -> int:
        """Numbers in one image."""
        return math.prod(self.shape)

    def reshaped(self, shape: tuple[int, ...]) -> Self:
        """Return the same range for images of another shape."""
        return type(self)(shape, self.low, self.high, self.levels, self.clip)

    def check(self, images: object) -> Tensor:
        """Return the images as `(m, *shape)` float32.

        Raises:
            InvalidImages: If they are no floating-point tensor of that shape, or hold NaN or infinity.
        """
        expected = f"(m, {', '.join(map(str, self.shape))})"
        if not isinstance(images, Tensor):
            raise InvalidImages(f"images must be a {expected} tensor, got {brief(images)}; use torch.as_tensor.")
        if images.ndim != 1 + len(self.shape) or tuple(images.shape[1:]) != self.shape:
            hint = " One image needs a leading axis: image[None]." if tuple(images.shape) == self.shape else ""
            raise InvalidImages(f"images must have shape {expected}, got {brief(images)}.{hint}")
        if not images.is_floating_point():
            raise InvalidImages(
                f"images must be floating point in about [{self.low:g}, {self.high:g}], got {brief(images)}; "
                "divide 8-bit images by 255."
            )
        images = images.detach().to(torch.float32)
        # One pass without a mask of the images' size; a sum that overflows is looked at closely.
        if len(images) and not bool(torch.isfinite(images.sum())) and not bool(torch.isfinite(images).all()):
            row = int(torch.nonzero(~torch.isfinite(images.flatten(1)).all(dim=1))[0])
            raise InvalidImages(f"images must be finite, but image {row} of {len(images)} holds NaN or infinity.")
        return images

    def prepare(self, images: Tensor) -> Tensor:
        """Return `(m, *shape)` images as they are sent: clipped and rounded if the spec says so, else the same."""
        if self.levels is None:
            return images.clamp(self.low, self.high) if self.clip else images
        steps = self.levels - 1
        level = (images.clamp(self.low, self.high) - self.low).mul_(steps / (self.high - self.low)).round_()
        return level.div_(steps).mul_(self.high - self.low).add_(self.low)
