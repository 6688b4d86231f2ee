from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from problems.dnn import fashion_mnist, mnist
from zotoolkit.errors import DataDamaged, DataMissing


def test_images_and_labels(mnist_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = mnist(mnist_folder)
    assert data.train_inputs.shape == (40, 1, 28, 28)
    assert data.train_inputs.dtype == torch.uint8
    assert data.train_targets.tolist() == [n % 10 for n in range(40)]
    assert data.test_inputs is not None
    assert len(data.test_inputs) == 20
    raw = (mnist_folder / "MNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()
    assert int(data.train_inputs[3, 0, 2, 1]) == raw[16 + 3 * 784 + 2 * 28 + 1]
    assert torch.equal(mnist(mnist_folder / "MNIST" / "raw").train_inputs, data.train_inputs)
    above = tmp_path_factory.mktemp("above")
    (above / "digits").symlink_to(mnist_folder)
    assert torch.equal(mnist(above).train_inputs, data.train_inputs)


def test_fashion_is_not_mistaken_for_digits(mnist_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOTOOLKIT_DATA", str(mnist_folder))
    with pytest.raises(DataMissing, match=r"Fashion-MNIST is not in the folder .*FashionMNIST/raw"):
        fashion_mnist()
    (mnist_folder / "MNIST").rename(mnist_folder / "FashionMNIST")
    assert len(fashion_mnist().train_inputs) == 40
    with pytest.raises(DataMissing, match="MNIST is not in the folder"):
        mnist()
    monkeypatch.setenv("ZOTOOLKIT_DATA", str(mnist_folder / "FashionMNIST"))
    assert len(fashion_mnist().train_inputs) == 40
    assert len(fashion_mnist(mnist_folder / "FashionMNIST" / "raw").train_inputs) == 40


def test_missing_files_are_said(mnist_folder: Path, tmp_path: Path) -> None:
    (mnist_folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataMissing, match=r"put its missing files there \(t10k-labels-idx1-ubyte, or \.gz\)"):
        mnist(mnist_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissing, match=r"MNIST is not in the folder .*put train-images-idx3-ubyte, .*MNIST/raw"):
        mnist(tmp_path / "empty")


def test_damaged_files_are_named(mnist_folder: Path) -> None:
    home = mnist_folder / "MNIST" / "raw"
    images, labels = home / "train-images-idx3-ubyte", home / "train-labels-idx1-ubyte.gz"
    whole = images.read_bytes()
    for content, words in (
        (whole[:-5], r"has 31,371 bytes, but 31,376 by its header \(40, 28, 28\): cut short"),
        (whole + b"x", "has 31,377 bytes, but 31,376"),
        (b"", "is no IDX file of unsigned bytes with 3 axes: it starts with nothing"),
        (b"\0\0\x0d" + whole[3:], "it starts with 00 00 0d 03"),
        (gzip.decompress(labels.read_bytes()), "it starts with 00 00 08 01"),
        (whole[:4] + np.array([0, 28, 28], ">u4").tobytes(), "cut short"),
    ):
        images.write_bytes(content)
        with pytest.raises(DataDamaged, match=words) as caught:
            mnist(mnist_folder)
        assert str(images) in str(caught.value)
    images.write_bytes(whole)
    good = labels.read_bytes()
    plain = gzip.decompress(good)
    for content, words in (
        (good[:-9], "cannot be unpacked"),
        (b"no gzip", "cannot be unpacked"),
        (gzip.compress(plain[:-1] + b"\x0a"), "record 39 has label 10, which must be 0 to 9"),
        (gzip.compress(plain[:7] + b"\x27" + plain[8:-1]), "has 40 images, .* 39 labels"),
    ):
        labels.write_bytes(content)
        with pytest.raises(DataDamaged, match=words) as caught:
            mnist(mnist_folder)
        assert str(labels) in str(caught.value)
