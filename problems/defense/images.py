"""Images to defend a classifier on: pixels in [0, 1], since noise and radii are measured in their units."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import Self, override

from problems.dnn.data import SupervisedData, cifar10
from problems.dnn.data.selection import chosen
from problems.dnn.data.sklearn_digits import DIGITS_WHITE, grey_digits
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import InvalidSetting, brief

DATASETS = ("digits", "cifar10")
_WHITE = 255  # of uint8 images


@dataclass(frozen=True, eq=False)
class DefenseImages:
    """A training and a test set of images in classes.

    Two sets of the same images and labels are equal, however they were made.

    Args:
        train: `(n, C, H, W)` float32 in [0, 1].
        train_labels: `(n,)` int64 from 0 to classes - 1.
        test: `(m, C, H, W)`, at least one.
        test_labels: `(m,)`.
        classes: Number of classes; 0 for one more than the largest label.
        name: For reports.

    Attributes:
        train: As given, like those below.
        classes: Number of classes.

    Raises:
        InvalidSetting: If images have another shape, dtype or range, or labels do not fit them.

    Examples:
        >>> images = DefenseImages.digits()
        >>> images
        <DefenseImages digits: 1,438 + 359 of shape (1, 8, 8) in 10 classes>
        >>> images.subset(test=20).test.shape
        torch.Size([20, 1, 8, 8])
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int = 0
    name: str = "images"

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            _check_images(getattr(self, part), part)
            _check_labels(getattr(self, f"{part}_labels"), len(getattr(self, part)), f"{part}_labels")
        if self.test.shape[1:] != self.train.shape[1:]:
            ours, theirs = tuple(self.train.shape[1:]), tuple(self.test.shape[1:])
            raise InvalidSetting(f"training and test images must have one shape, got {ours} and {theirs}.")
        largest = max(int(self.train_labels.max()), int(self.test_labels.max()))
        if self.classes == 0:
            object.__setattr__(self, "classes", max(2, largest + 1))
        elif check_count(self.classes, "classes", 2) <= largest:
            raise InvalidSetting(f"labels must be below classes={self.classes}, got {largest}.")

    @classmethod
    def digits(cls) -> Self:
        """Return scikit-learn's digits: 1,438 to train on and 359 to test, the split of `problems.dnn.digits`."""
        return cls.from_supervised(grey_digits(), white=DIGITS_WHITE, classes=10, name="digits")

    @classmethod
    def cifar10(cls, root: str | Path | None = None, *, train: int | None = None, test: int | None = None) -> Self:
        """Return CIFAR-10, or a part of it: as float32 all of it takes 740 MB.

        Args:
            root: Where its files lie, as `folder` of `problems.dnn.cifar10`; None for the folder that the environment
                variable ZOTOOLKIT_DATA names, else `data`.
            train: Training images, None for all; see `subset`.
            test: Test images, likewise.

        Raises:
            DataMissing: If the files are not there.
            DataDamaged: If a file cannot be used.
            InvalidSetting: If there are fewer images than are asked for.
        """
        return cls.from_supervised(cifar10(root).subset(train, test), classes=10, name="CIFAR-10")

    @classmethod
    def named(cls, dataset: str, root: str | Path | None = None) -> Self:
        """Return the data set of a name in `DATASETS`; `root` as in `cifar10`, digits need none."""
        return cls.digits() if check_choice(dataset, DATASETS, "dataset") == "digits" else cls.cifar10(root)

    @classmethod
    def from_supervised(
        cls, data: SupervisedData, *, white: float | None = None, classes: int = 0, name: str = "images"
    ) -> Self:
        """Return the images of a data set that networks are trained on.

        Its mean and std are left aside: here a classifier that wants normalised images normalises them itself.

        Args:
            data: Its inputs are images in whole or floating-point numbers from 0 up, its targets class indices.
            white: The pixel that becomes 1; None for 255 where images are uint8, else 1.
            classes: As in the class.
            name: As in the class.

        Raises:
            InvalidSetting: If there is no test set, or as in the class.
        """
        if not isinstance(data, SupervisedData):
            raise InvalidSetting(f"data must be SupervisedData(train_inputs, train_targets, ...), got {brief(data)}.")
        if data.test_inputs is None or data.test_targets is None:
            raise InvalidSetting("there must be a test set to certify: give the data test_inputs and test_targets.")
        if white is None:
            white = _WHITE if data.train_inputs.dtype == torch.uint8 else 1
        check_positive(white, "white")
        train, test = (part.to(torch.float32) / white for part in (data.train_inputs, data.test_inputs))
        return cls(train, data.train_targets, test, data.test_targets, classes, name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    @cached_property
    def train_fingerprint(self) -> str:
        """A SHA-256 digest of the training images and labels."""
        return _digest(self.train, self.train_labels)

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 digest of all images and labels."""
        return hashlib.sha256(f"{self.train_fingerprint} {_digest(self.test, self.test_labels)}".encode()).hexdigest()

    def subset(self, train: int | None = None, test: int | None = None, seed: int = 0) -> Self:
        """Return fewer images, as many of each class as there can be.

        A smaller subset of the same seed lies within a larger one.

        Args:
            train: Training images, None for all.
            test: Test images, None for all.
            seed: Which images.

        Raises:
            InvalidSetting: If more are asked for than there are.
        """
        parts: list[Tensor] = []
        for name, count in (("train", train), ("test", test)):
            images, labels = getattr(self, name), getattr(self, f"{name}_labels")
            if count is not None:
                if check_count(count, name) > len(images):
                    raise InvalidSetting(
                        f"{name} must be at most the {len(images)} images that there are, got {count}."
                    )
                rows = chosen(labels, count, seed)
                images, labels = images[rows], labels[rows]
            parts += [images, labels]
        return type(self)(*parts, classes=self.classes, name=self.name)

    def hold_out(self, share: float, seed: int = 0) -> Self:
        """Return the training set split in two, the second part in the test set's place: to tune without the test set.

        Args:
            share: Of the training set that is held out, in (0, 1).
            seed: Which images.

        Raises:
            InvalidSetting: If share leaves no image on one side.
        """
        data = SupervisedData(self.train, self.train_labels).hold_out(share, seed)
        return self.from_supervised(data, classes=self.classes, name=f"{self.name}, held out")

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DefenseImages):
            return NotImplemented
        return (self.classes, self.fingerprint) == (other.classes, other.fingerprint)

    @override
    def __hash__(self) -> int:
        return hash((self.classes, self.fingerprint))

    @override
    def __repr__(self) -> str:
        sizes = f"{len(self.train):,} + {len(self.test):,}"
        return f"<DefenseImages {self.name}: {sizes} of shape {self.shape} in {self.classes} classes>"


def _digest(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(f"{tuple(images.shape)}".encode())
    for part in (images, labels):
        digest.update(part.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_images(images: object, name: str) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.dtype != torch.float32:
        raise InvalidSetting(f"{name} must be a float32 tensor of shape (n, C, H, W), got {brief(images)}.")
    if not images.numel():
        raise InvalidSetting(f"{name} must hold at least one image of at least one pixel, got {brief(images)}.")
    if images.device.type != "cpu":
        raise InvalidSetting(f"{name} must lie on the CPU, got device {images.device}; blocks are moved when used.")
    low, high = (float(end) for end in images.aminmax())
    if not 0 <= low <= high <= 1:  # so that NaN fails too
        raise InvalidSetting(
            f"pixels of {name} must lie in [0, 1], got {low:g} to {high:g}; divide by 255, or take the normalisation "
            "off and put it into the classifier."
        )


def _check_labels(labels: object, count: int, name: str) -> None:
    if not isinstance(labels, Tensor) or labels.shape != (count,) or labels.dtype != torch.int64:
        raise InvalidSetting(f"{name} must be int64 of shape ({count},), one an image, got {brief(labels)}.")
    if int(labels.min()) < 0:
        raise InvalidSetting(f"{name} must be classes from 0 up, got {int(labels.min())}.")
