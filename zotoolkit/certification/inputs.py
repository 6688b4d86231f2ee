"""Checks of images, true classes and keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zotoolkit.errors import InvalidImages, InvalidLabels, InvalidSetting, brief


def check_images(x: object) -> Tensor:
    """Return `(N, *shape)` images as a tensor.

    Args:
        x: A tensor or an array of float32 or float64.

    Raises:
        InvalidImages: If there is no image, or they are not floating point or not finite.
    """
    if not isinstance(x, (Tensor, np.ndarray)):
        raise InvalidImages(f"images must be a tensor or an array of shape (N, *shape), got {brief(x)}.")
    if isinstance(x, np.ndarray) and x.dtype.kind not in "biuf":
        raise InvalidImages(f"images must be float32 or float64, got {brief(x)}.")
    images = torch.as_tensor(x).detach()
    if images.ndim < 2 or images.numel() == 0:
        raise InvalidImages(f"images must have shape (N, *shape) with N at least 1, got {brief(x)}.")
    if images.dtype not in (torch.float32, torch.float64):
        raise InvalidImages(
            f"images must be float32 or float64, in the range that the classifier takes, got {brief(x)}; sigma is in "
            "units of the images."
        )
    for index, image in enumerate(images):
        if not bool(torch.isfinite(image).all()):
            raise InvalidImages(f"images must be finite, but image {index} is not.")
    return images


def check_labels(y: object, count: int, classes: int | None = None) -> NDArray[np.int64]:
    """Return `(count,)` true classes as an array.

    Raises:
        InvalidLabels: If they are not that many integers from 0 up to below `classes`.
    """
    given = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if given.shape != (count,):
        raise InvalidLabels(f"y must have one true class for each of the {count} images, got {brief(y)}.")
    if not np.issubdtype(given.dtype, np.integer):
        raise InvalidLabels(f"y must hold integers, got {brief(y)} of dtype {given.dtype}.")
    labels = given.astype(np.int64)
    if wrong := labels[(labels < 0) | (labels >= (np.inf if classes is None else classes))].tolist():
        known = "at least 0" if classes is None else f"in [0, {classes}), the classifier's classes"
        raise InvalidLabels(f"true classes must be {known}, got {wrong[0]}.")
    return labels


def check_indices(indices: Sequence[int] | Tensor | NDArray | None, count: int) -> list[int]:
    """Return `count` keys of images; by default 0 to count - 1.

    Raises:
        InvalidSetting: If they are not that many different integers of at least 0.
    """
    if indices is None:
        return list(range(count))
    given = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices)
    if given.shape != (count,) or not np.issubdtype(given.dtype, np.integer):
        raise InvalidSetting(f"indices must be one integer for each of the {count} images, got {brief(indices)}.")
    keys = [int(key) for key in given]
    if len(set(keys)) < count or min(keys) < 0:
        raise InvalidSetting(f"indices must be different from each other and at least 0, got {brief(keys)}.")
    return keys


def fingerprint(image: Tensor) -> str:
    """Return 16 hexadecimal digits that name an image by dtype, shape and every bit of its numbers."""
    array = image.detach().cpu().contiguous().numpy()
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape} ".encode(), digest_size=8)
    digest.update(array.tobytes())
    return digest.hexdigest()
