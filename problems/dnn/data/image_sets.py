"""The image data sets by name, with what a network has to know of them before they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from problems.dnn.data.cifar import CIFAR10, CIFAR100
from problems.dnn.data.mnist import FASHION_MNIST, MNIST
from problems.dnn.data.sklearn_digits import digits
from problems.dnn.data.supervised import SupervisedData
from zotoolkit.errors import DataMissing

Folder = str | Path | None


@dataclass(frozen=True)
class ImageSet:
    """A data set of images in classes.

    Attributes:
        title: For reports.
        channels: Of an image.
        size: Height and width in pixels.
        classes: Number of classes.
        load: Reads it from a folder.
        locate: Finds its files, or raises DataMissing.
        mirrored: Whether a mirror image is as good an image of its class.
    """

    title: str
    channels: int
    size: int
    classes: int
    load: Callable[[Folder], SupervisedData]
    locate: Callable[[Folder], object]
    mirrored: bool = True

    def is_there(self, folder: Folder = None) -> bool:
        """Whether its files are where they would be looked for."""
        try:
            self.locate(folder)
        except DataMissing:
            return False
        return True


IMAGE_SETS = {
    "cifar10": ImageSet("CIFAR-10", 3, 32, 10, CIFAR10.load, CIFAR10.locate),
    "cifar100": ImageSet("CIFAR-100", 3, 32, 100, CIFAR100.load, CIFAR100.locate),
    "mnist": ImageSet("MNIST", 1, 28, 10, MNIST.load, MNIST.locate, mirrored=False),
    "fashion_mnist": ImageSet("Fashion-MNIST", 1, 28, 10, FASHION_MNIST.load, FASHION_MNIST.locate),
    "digits": ImageSet("digits", 1, 8, 10, lambda folder: digits(), lambda folder: None, mirrored=False),
}
