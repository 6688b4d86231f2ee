"""Small data files in the real layouts."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest


def records(count: int, labels: int, classes: int, seed: int) -> np.ndarray:
    """CIFAR's binary records: label bytes, then pixels; the last label counts up through the classes."""
    table = np.random.default_rng(seed).integers(0, 256, (count, labels + 3072)).astype(np.uint8)
    table[:, :labels] = 0
    table[:, labels - 1] = np.arange(count) % classes
    return table


@pytest.fixture
def cifar10_folder(tmp_path: Path) -> Path:
    """A folder that holds CIFAR-10 in its authors' layout: 5 x 12 training and 20 test images."""
    home = tmp_path / "cifar-10-batches-bin"
    home.mkdir()
    for number in range(1, 6):
        records(12, 1, 10, number).tofile(home / f"data_batch_{number}.bin")
    records(20, 1, 10, 9).tofile(home / "test_batch.bin")
    return tmp_path


@pytest.fixture
def cifar100_folder(tmp_path: Path) -> Path:
    """CIFAR-100: 200 training and 100 test images."""
    home = tmp_path / "cifar-100-binary"
    home.mkdir()
    records(200, 2, 100, 1).tofile(home / "train.bin")
    records(100, 2, 100, 2).tofile(home / "test.bin")
    return tmp_path


def idx(array: np.ndarray) -> bytes:
    """The array in the IDX format."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist_folder(tmp_path: Path) -> Path:
    """A folder that holds MNIST as torchvision lays it out: 40 training and 20 test images, some files compressed."""
    home = tmp_path / "MNIST" / "raw"
    home.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        (home / f"{part}-images-idx3-ubyte").write_bytes(idx(draw.integers(0, 256, (count, 28, 28))))
        (home / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count) % 10)))
    return tmp_path
