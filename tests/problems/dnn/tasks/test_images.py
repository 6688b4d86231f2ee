"""The registered networks on image data sets, on small files in the real layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typing_extensions import override

import zotoolkit
from problems.dnn import TrainNetwork
from zotoolkit import BlackBoxObjective
from zotoolkit.cli import main
from zotoolkit.errors import DataMissing, InvalidSetting
from zotoolkit.testing import ObjectiveConformance

SMALL = {"batch_size": 6, "evaluation_samples": 12}


def made(id: str, folder: Path | None, **settings: Any) -> TrainNetwork:
    objective = zotoolkit.make(id, folder=None if folder is None else str(folder), **{**SMALL, **settings})
    assert isinstance(objective, TrainNetwork)
    return objective


@pytest.mark.parametrize(
    ("id", "settings", "dim"),
    [
        ("DNN/ResNet20-CIFAR10-v0", {}, 269_722),
        ("DNN/CNN-CIFAR10-v0", {"depth": 1}, 730),
        ("DNN/CNN-CIFAR10-v0", {"depth": 5, "augment": False}, 12_610),
        ("DNN/ViT-CIFAR10-v0", {}, 81_850),
        ("DNN/MLP-CIFAR10-v0", {"hidden": [4, 3]}, 3072 * 4 + 4 + 15 + 40),
    ],
)
def test_on_cifar10(cifar10_folder: Path, id: str, settings: dict[str, Any], dim: int) -> None:
    objective = made(id, cifar10_folder, **settings)
    assert objective.dim == dim
    assert objective.batches_per_epoch == 10
    assert objective.metadata["name"].endswith(" on CIFAR-10")
    x0, _ = objective.reset(seed=0)
    values, *_ = objective.step(zotoolkit.DenseBatch.at(torch.stack((x0, x0 + 1e-3))))
    assert bool(values.isfinite().all())
    assert objective.data.train_inputs.dtype == torch.uint8
    assert 0 <= objective.metrics(x0)["test_accuracy"] <= 1


def test_on_cifar100(cifar100_folder: Path) -> None:
    assert made("DNN/ResNet20-CIFAR100-v0", cifar100_folder).dim == 269_722 + 90 * 65
    assert made("DNN/CNN-CIFAR100-v0", cifar100_folder, depth=2).dim == 3_700 + 90 * 19
    assert made("DNN/ViT-CIFAR100-v0", cifar100_folder, train_samples=150).metadata["train_samples"] == 150


def test_on_mnist(mnist_folder: Path) -> None:
    assert made("DNN/CNN-MNIST-v0", mnist_folder, depth=1).dim == 180 + 36 + 190
    assert made("DNN/MLP-MNIST-v0", mnist_folder, hidden=8).dim == 784 * 8 + 8 + 90
    assert made("DNN/ViT-MNIST-v0", mnist_folder).minibatch(0)[0].shape == (6, 1, 28, 28)
    (mnist_folder / "MNIST").rename(mnist_folder / "FashionMNIST")
    assert made("DNN/CNN-FashionMNIST-v0", mnist_folder, dtype="float64").space.dtype == "float64"
    part = made("DNN/MLP-FashionMNIST-v0", mnist_folder, train_samples=20, test_samples=10)
    assert part.data.train_targets.bincount().tolist() == [2] * 10
    assert part.metadata["test_samples"] == 10


def test_deeper_networks(cifar10_folder: Path) -> None:
    assert made("DNN/ResNet32-CIFAR10-v0", cifar10_folder).dim == 464_154
    assert zotoolkit.spec("DNN/ResNet110-CIFAR100-v0").kwargs == {"depth": 110, "dataset": "cifar100"}


def test_settings_are_checked_before_data_are_looked_for(tmp_path: Path) -> None:
    for id, settings, words in (
        ("DNN/ResNet20-CIFAR10-v0", {"depth": 21}, "depth must be 6n"),
        ("DNN/ResNet20-CIFAR10-v0", {"dataset": "cifar11"}, "Did you mean 'cifar10'"),
        ("DNN/CNN-CIFAR10-v0", {"depth": 6}, "depth must be at most 5"),
        ("DNN/ViT-CIFAR10-v0", {"patch": 5}, "patch must divide"),
        ("DNN/MLP-MNIST-v0", {"activation": "relo"}, "Did you mean 'relu'"),
        ("DNN/CNN-MNIST-v0", {"batch_size": 0}, "batch_size must be"),
        ("DNN/CNN-MNIST-v0", {"batch_size": 20, "train_samples": 10}, "batch_size must be at most train_samples=10"),
        ("DNN/CNN-MNIST-v0", {"augment": "yes"}, "augment must be true or false, got 'yes'"),
        ("DNN/CNN-MNIST-v0", {"dtype": "int8"}, "dtype must be one of"),
        ("DNN/CNN-MNIST-v0", {"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ("DNN/CNN-MNIST-v0", {"test_samples": -1}, "test_samples must be"),
    ):
        with pytest.raises(InvalidSetting, match=words):
            made(id, tmp_path, **settings)
    with pytest.raises(DataMissing, match="MNIST is not in the folder"):
        made("DNN/CNN-MNIST-v0", tmp_path)


def test_making_draws_nothing(cifar10_folder: Path) -> None:
    state = torch.get_rng_state()
    made("DNN/ViT-CIFAR10-v0", cifar10_folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_command_line_says_it_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOTOOLKIT_DATA", str(tmp_path))
    run = ["run", "DNN/ResNet20-CIFAR10-v0", "--solver", "ZO/SPSA-v0", "--budget", "10", "--out", str(tmp_path / "run")]
    assert main(run) != 0
    said = capsys.readouterr().err.strip()
    assert said.startswith("zotoolkit: error: CIFAR-10 is not in the folder")
    assert "\n" not in said
    assert main(["describe", "DNN/ResNet20-CIFAR10-v0"]) == 0
    assert "depends on the data: CIFAR-10 is not in" in capsys.readouterr().out


def test_settings_reach_from_the_command_line(cifar10_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOTOOLKIT_DATA", str(cifar10_folder))
    settings = {"depth": 1, "batch_size": 6, "train_samples": 30, "augment": "false", "evaluation_samples": "null"}
    pairs = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    out = cifar10_folder / "run"
    run = ["run", "DNN/CNN-CIFAR10-v0", "--solver", "ZO/SPSA-v0", "--budget", "10", "--no-progress", "--out", str(out)]
    assert main([*run, *pairs]) == 0
    assert json.loads((out / "result.json").read_text())["dimension"] == 730


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "residual": ("DNN/ResNet20-CIFAR10-v0", {"depth": 8, "dtype": "float64"}),
    "convolutional": ("DNN/CNN-CIFAR10-v0", {"depth": 2}),
    "transformer": ("DNN/ViT-CIFAR10-v0", {"patch": 8, "width": 8, "depth": 1, "heads": 2}),
    "perceptron": ("DNN/MLP-CIFAR10-v0", {"hidden": 2, "augment": True}),
}


@pytest.mark.parametrize("case", CASES)
class TestPromises(ObjectiveConformance):
    @pytest.fixture(autouse=True)
    def _chosen(self, case: str, cifar10_folder: Path) -> None:
        self.id, self.settings = CASES[case]
        self.folder = cifar10_folder

    @override
    def make_objective(self) -> BlackBoxObjective:
        return made(self.id, self.folder, **self.settings)
