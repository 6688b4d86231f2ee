"""CIFAR-10 and CIFAR-100, from whichever of three layouts lies in a folder. Nothing is downloaded.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. 50,000 training and 10,000 test images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from problems.dnn.data.cifar_binary import read_binary
from problems.dnn.data.cifar_parquet import has_column, read_parquet
from problems.dnn.data.cifar_pickles import read_pickles
from problems.dnn.data.folders import data_folder, missing, places
from problems.dnn.data.supervised import SupervisedData

Reader = Callable[[Sequence[Path]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Found:
    """The files of a data set: where they lie and how they are read."""

    read: Reader
    train: tuple[Path, ...]
    test: tuple[Path, ...]


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets.

    Attributes:
        name: For messages.
        classes: Number of classes.
        archive: Where its authors publish the binary layout.
        binary: Folder, training files, test file and label bytes a record of the binary layout.
        pickles: Folder, training files, test file and labels' key of the Python layout.
        parquet: Folder and labels' column of the Hugging Face layout.
        mean: Of the training images on [0, 1], for each channel.
        std: Likewise.
    """

    name: str
    classes: int
    archive: str
    binary: tuple[str, tuple[str, ...], str, int]
    pickles: tuple[str, tuple[str, ...], str, str]
    parquet: tuple[str, str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def load(self, folder: str | Path | None = None) -> SupervisedData:
        """Read the data set; see `cifar10`."""
        found = self.locate(folder)
        return SupervisedData(*found.read(found.train), *found.read(found.test), mean=self.mean, std=self.std)

    def locate(self, folder: str | Path | None = None) -> Found:
        """Find the files.

        Raises:
            DataMissing: If there are none, or some are missing.
        """
        root = data_folder(folder)
        return self._plain(root) or self._tables(root) or self._none(root)

    def _plain(self, root: Path) -> Found | None:
        home, train, test, size = self.binary
        binary = (home, train, test, partial(read_binary, labels=size, classes=self.classes))
        home, train, test, key = self.pickles
        python = (home, train, test, partial(read_pickles, key=key, classes=self.classes))
        for home, train, test, reader in (binary, python):
            for place in places(root, home):
                absent = [name for name in (*train, test) if not (place / name).is_file()]
                if not absent:
                    return Found(reader, tuple(place / name for name in train), (place / test,))
                if len(absent) <= len(train) and place.name == home:
                    raise missing(self.name, place, f"its missing files there ({', '.join(absent)})")
        return None

    def _tables(self, root: Path) -> Found | None:
        home, label = self.parquet
        for place in places(root, home):
            train, test = (tuple(sorted(place.glob(f"{part}*.parquet"))) for part in ("train", "test"))
            if train and test and has_column(train[0], label):
                return Found(partial(read_parquet, label=label, classes=self.classes), train, test)
        return None

    def _none(self, root: Path) -> Found:
        home, train, test, _ = self.binary
        files = train[0] if len(train) == 1 else f"{train[0]} to {train[-1]}"
        raise missing(
            self.name,
            root,
            f"{files} and {test} of {self.archive} into {root / home} (torchvision's {self.pickles[0]} and Hugging "
            "Face's Parquet files are read as well)",
        )


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

CIFAR10 = Cifar(
    name="CIFAR-10",
    classes=10,
    archive="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    binary=("cifar-10-batches-bin", tuple(f"{name}.bin" for name in _BATCHES), "test_batch.bin", 1),
    pickles=("cifar-10-batches-py", _BATCHES, "test_batch", "labels"),
    parquet=("plain_text", "label"),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2471, 0.2435, 0.2616),
)

# Mean and deviation over all pixels of the training images, as commonly quoted, for example in NX-AI/vision-lstm,
# src/vislstm/transforms/cifar100_norm.py.
CIFAR100 = Cifar(
    name="CIFAR-100",
    classes=100,
    archive="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    binary=("cifar-100-binary", ("train.bin",), "test.bin", 2),
    pickles=("cifar-100-python", ("train",), "test", "fine_labels"),
    parquet=("cifar100", "fine_label"),
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2673, 0.2564, 0.2762),
)


def cifar10(folder: str | Path | None = None) -> SupervisedData:
    """Return CIFAR-10: colour images of 32x32 pixels in 10 classes, kept as uint8.

    Args:
        folder: Holds `cifar-10-batches-bin` (the authors' binary layout), `cifar-10-batches-py` (torchvision's) or
            Parquet files (Hugging Face's `plain_text`), itself or in one of its folders; or is that folder. None for
            the folder that the environment variable ZOTOOLKIT_DATA names, else `data`.

    Raises:
        DataMissing: If the files are not there; the message says which to put where.
        DataDamaged: If a file is cut short, of another layout, or has a label out of range; the message names it.
        MissingExtra: If there are Parquet files only, and pyarrow or Pillow is not installed.
    """
    return CIFAR10.load(folder)


def cifar100(folder: str | Path | None = None) -> SupervisedData:
    """Return CIFAR-100 with its 100 fine labels; folders and errors as in `cifar10`.

    Args:
        folder: Holds `cifar-100-binary`, `cifar-100-python` or Parquet files (`cifar100`).
    """
    return CIFAR100.load(folder)
