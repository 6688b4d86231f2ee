"""MNIST and Fashion-MNIST from IDX files, compressed or not. Nothing is downloaded.

Source: LeCun et al., Gradient-based Learning Applied to Document Recognition, 1998; Xiao et al., arXiv 1708.07747.
60,000 training and 10,000 test images, 28x28, grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from problems.dnn.data.folders import data_folder, missing, places
from problems.dnn.data.idx import read_idx
from problems.dnn.data.labels import check_labels
from problems.dnn.data.supervised import SupervisedData
from zotoolkit.errors import DataDamaged

_CLASSES = 10
_PARTS = ("train", "t10k")
_KINDS = (("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1))


@dataclass(frozen=True)
class Idx:
    """A data set of four IDX files.

    Attributes:
        name: For messages.
        homes: Folders that it may lie in; the first is torchvision's.
        mean: Of the training images on [0, 1].
        std: Likewise.
    """

    name: str
    homes: tuple[str, ...]
    mean: float
    std: float

    def load(self, folder: str | Path | None = None) -> SupervisedData:
        """Read the data set; see `mnist`."""
        files = self.locate(folder)
        sets = [
            _read(files[name], files[name.replace("images-idx3", "labels-idx1")]) for name in _names() if "im" in name
        ]
        (train, train_labels), (test, test_labels) = sets
        return SupervisedData(train, train_labels, test, test_labels, mean=self.mean, std=self.std)

    def locate(self, folder: str | Path | None = None) -> dict[str, Path]:
        """Find the files, by name without ".gz".

        Raises:
            DataMissing: If one is not there.
        """
        root = data_folder(folder)
        homes = [f"{home}/raw" for home in self.homes] + list(self.homes)
        # Its relatives have files of the same names, so those must lie in a folder of its own, or in the one given.
        own = [root, root / "raw"] if folder is not None or root.name in self.homes else []
        for place in (*places(root, *homes, bare=False), *own):
            files = {name: _file(place, name) for name in _names()}
            there = {name: path for name, path in files.items() if path is not None}
            if len(there) == len(files):
                return there
            if there:
                absent = ", ".join(name for name in files if name not in there)
                raise missing(self.name, place, f"its missing files there ({absent}, or .gz)")
        names = ", ".join(_names())
        raise missing(self.name, root, f"{names} (or .gz) into {root / homes[0]}")


def _names() -> list[str]:
    return [f"{part}-{kind}" for part in _PARTS for kind, _ in _KINDS]


def _file(place: Path, name: str) -> Path | None:
    # Some archives write "train-images.idx3-ubyte".
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (place / spelling, place / f"{spelling}.gz"):
            if path.is_file():
                return path
    return None


def _read(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    pixels, targets = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(targets):
        raise DataDamaged(f"{images} has {len(pixels):,} images, {labels} {len(targets):,} labels; fetch them anew.")
    return pixels[:, None], check_labels(targets, _CLASSES, labels)


# Mean and deviation over all pixels of the training images, from chatflip/CalculationMeanStd, README.md.
MNIST = Idx("MNIST", ("MNIST", "mnist"), mean=0.1307, std=0.3081)
FASHION_MNIST = Idx("Fashion-MNIST", ("FashionMNIST", "fashion-mnist", "fashion_mnist"), mean=0.2860, std=0.3530)


def mnist(folder: str | Path | None = None) -> SupervisedData:
    """Return MNIST: grey images of handwritten digits, kept as uint8 `(n, 1, 28, 28)`.

    Args:
        folder: Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
            `t10k-labels-idx1-ubyte`, or the same with .gz, itself or in `MNIST/raw`, where torchvision puts them. None
            for the folder that the environment variable ZOTOOLKIT_DATA names, else `data`.

    Raises:
        DataMissing: If a file is not there; the message says which to put where.
        DataDamaged: If a file is cut short, of another layout, or has a label out of range; the message names it.
    """
    return MNIST.load(folder)


def fashion_mnist(folder: str | Path | None = None) -> SupervisedData:
    """Return Fashion-MNIST, in MNIST's layout; errors as in `mnist`.

    Args:
        folder: Holds the four files in `FashionMNIST/raw`, where torchvision puts them, in `fashion-mnist`, or itself.
    """
    return FASHION_MNIST.load(folder)
