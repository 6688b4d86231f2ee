from __future__ import annotations

from pathlib import Path

import pytest
import torch

from problems.defense.images import DefenseImages
from problems.dnn import SupervisedData, cifar10, digits
from tests.problems.dnn.conftest import records
from zotoolkit.errors import DataMissing, InvalidSetting


def made(n: int = 12, m: int = 6, classes: int = 3) -> DefenseImages:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n + m, 2, 4, 4, generator=generator)
    y = torch.arange(n + m) % classes
    return DefenseImages(x[:n], y[:n], x[n:], y[n:])


def test_digits_are_the_split_that_networks_are_trained_on() -> None:
    images, data = DefenseImages.digits(), digits()
    assert images.train.shape == (1438, 1, 8, 8)
    assert images.test.shape == (359, 1, 8, 8)
    assert (images.classes, images.shape) == (10, (1, 8, 8))
    assert torch.equal(images.train_labels, data.train_targets)
    assert data.test_targets is not None
    assert torch.equal(images.test_labels, data.test_targets)
    assert float(images.train.max()) == 1.0
    assert torch.equal((images.train * 16).round(), images.train * 16)
    scaled = (images.train - images.train.mean()) / images.train.std()
    torch.testing.assert_close(scaled, data.train_inputs, rtol=1e-5, atol=1e-5)


def test_cifar_lies_in_the_unit_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "cifar-10-batches-bin"
    home.mkdir()
    for number in range(1, 6):
        records(12, 1, 10, number).tofile(home / f"data_batch_{number}.bin")
    records(20, 1, 10, 9).tofile(home / "test_batch.bin")
    images, data = DefenseImages.cifar10(tmp_path), cifar10(tmp_path)
    assert images.shape == (3, 32, 32)
    assert (len(images.train), len(images.test), images.classes) == (60, 20, 10)
    assert torch.equal((images.train * 255).round().to(torch.uint8), data.train_inputs)
    part = DefenseImages.cifar10(tmp_path, train=20, test=10)
    assert part.train_labels.bincount().tolist() == [2] * 10
    monkeypatch.setenv("ZOTOOLKIT_DATA", str(tmp_path))
    assert DefenseImages.named("cifar10") == images
    assert DefenseImages.named("digits") == DefenseImages.digits()
    with pytest.raises(InvalidSetting, match="dataset must be one of 'digits', 'cifar10'"):
        DefenseImages.named("digit")
    with pytest.raises(DataMissing, match="there is no folder"):
        DefenseImages.cifar10(tmp_path / "nowhere")


def test_data_of_ones_own() -> None:
    grey = SupervisedData(
        torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1),
        torch.tensor([0, 1, 1]),
        torch.full((1, 1, 1, 1), 102, dtype=torch.uint8),
        torch.tensor([0]),
        mean=0.5,
        std=0.25,
    )
    images = DefenseImages.from_supervised(grey, name="mine")
    assert images.train.flatten().tolist() == pytest.approx([0.0, 1.0, 0.2])
    assert (images.classes, images.name) == (2, "mine")
    assert repr(images) == "<DefenseImages mine: 3 + 1 of shape (1, 1, 1) in 2 classes>"
    ten = SupervisedData(torch.full((2, 1, 1, 1), 5.0), torch.tensor([0, 1]), torch.ones(1, 1, 1, 1), torch.tensor([0]))
    assert DefenseImages.from_supervised(ten, white=10, classes=4).train.flatten().tolist() == [0.5, 0.5]
    with pytest.raises(InvalidSetting, match=r"pixels of train must lie in \[0, 1\], got 5 to 5"):
        DefenseImages.from_supervised(ten)
    with pytest.raises(InvalidSetting, match="white must be a finite number above 0"):
        DefenseImages.from_supervised(ten, white=0)
    with pytest.raises(InvalidSetting, match="there must be a test set"):
        DefenseImages.from_supervised(SupervisedData(ten.train_inputs, ten.train_targets))
    with pytest.raises(InvalidSetting, match="data must be SupervisedData"):
        DefenseImages.from_supervised(ten.train_inputs)  # pyright: ignore[reportArgumentType]


def test_subsets_are_balanced_and_nested() -> None:
    images = DefenseImages.digits()
    part = images.subset(train=50, test=20, seed=1)
    assert part.train_labels.bincount().tolist() == [5] * 10
    assert part.test_labels.bincount().tolist() == [2] * 10
    assert part.classes == 10
    assert images.subset(test=3).classes == 10  # not what its labels happen to be
    small, large = (images.subset(test=count).test.flatten(1).tolist() for count in (10, 30))
    assert {tuple(row) for row in small} < {tuple(row) for row in large}
    assert images.subset() == images
    for settings, words in (
        ({"train": 1439}, "train must be at most the 1438 images that there are, got 1439"),
        ({"test": 0}, "test must be an integer of at least 1"),
    ):
        with pytest.raises(InvalidSetting, match=words):
            images.subset(**settings)


def test_hold_out_splits_the_training_set() -> None:
    images = DefenseImages.digits()
    tuned = images.hold_out(0.25, seed=2)
    assert len(tuned.train) + len(tuned.test) == 1438
    both = torch.cat((tuned.train, tuned.test, images.train)).flatten(1)
    assert len(torch.unique(both, dim=0)) == 1438
    with pytest.raises(InvalidSetting, match="share must leave samples on both sides"):
        images.hold_out(1.0)


def test_equal_content_is_equal() -> None:
    images = made()
    same = DefenseImages(images.train.clone(), images.train_labels, images.test, images.test_labels, name="other name")
    assert images == same
    assert hash(images) == hash(same)
    changed = images.test.clone()
    changed[0, 0, 0, 0] = 0.5
    other = DefenseImages(images.train, images.train_labels, changed, images.test_labels)
    assert images != other
    assert images.train_fingerprint == other.train_fingerprint
    assert images != DefenseImages(images.train, images.train_labels, images.test, images.test_labels, classes=7)
    assert images != "images"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": torch.zeros(12, 4, 4)}, r"train must be a float32 tensor of shape \(n, C, H, W\)"),
        ({"train": torch.zeros(12, 2, 4, 4, dtype=torch.float64)}, "train must be a float32 tensor"),
        ({"train": [1.0]}, "train must be a float32 tensor"),
        ({"test": torch.zeros(0, 2, 4, 4), "test_labels": torch.zeros(0).long()}, "test must hold at least one image"),
        ({"test": torch.zeros(6, 2, 4, 0)}, "test must hold at least one image of at least one pixel"),
        ({"test": torch.zeros(6, 2, 5, 5)}, r"must have one shape, got \(2, 4, 4\) and \(2, 5, 5\)"),
        ({"train": torch.full((12, 2, 4, 4), 1.5)}, r"pixels of train must lie in \[0, 1\], got 1.5 to 1.5"),
        ({"test": torch.full((6, 2, 4, 4), -0.1)}, r"pixels of test must lie in \[0, 1\], got -0.1"),
        ({"test": torch.full((6, 2, 4, 4), float("nan"))}, r"pixels of test must lie in \[0, 1\], got nan"),
        ({"train_labels": torch.zeros(11).long()}, r"train_labels must be int64 of shape \(12,\), one an image"),
        ({"train_labels": torch.zeros(12)}, "train_labels must be int64"),
        ({"test_labels": torch.zeros(6, 1).long()}, "test_labels must be int64"),
        ({"test_labels": torch.full((6,), -1)}, "test_labels must be classes from 0 up, got -1"),
        ({"classes": 2}, "labels must be below classes=2, got 2"),
        ({"classes": 1}, "classes must be an integer of at least 2, got 1"),
    ],
)
def test_bad_images_are_said(changes: dict[str, object], words: str) -> None:
    images = made()
    parts = {name: getattr(images, name) for name in ("train", "train_labels", "test", "test_labels")}
    with pytest.raises(InvalidSetting, match=words):
        DefenseImages(**{**parts, **changes})  # pyright: ignore[reportArgumentType]
