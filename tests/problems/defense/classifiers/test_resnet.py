"""Residual networks from checkpoints, their normalisation inside.

With CIFAR-10 (ZOTOOLKIT_DATA) and a checkpoint (ZOTOOLKIT_RESNET20, a safetensors file with the names of `CifarResNet`;
ZOTOOLKIT_RESNET20_ACCURACY is its test accuracy, 0.8751 unless given) a trained ResNet-20 is measured too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from problems.defense.classifiers import Normalised, fixed_resnet, load_resnet
from problems.defense.images import DefenseImages
from problems.dnn import CifarResNet
from problems.dnn.data import IMAGE_SETS
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import CheckpointDamaged, CheckpointMismatch, CheckpointMissing, InvalidSetting

CHECKPOINT = os.environ.get("ZOTOOLKIT_RESNET20")


def saved(path: Path, metadata: dict[str, str] | None = None, **settings: int) -> CifarResNet:
    with seeded_randomness(0, torch.device("cpu")):
        network = CifarResNet(**settings)
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    save_file(network.state_dict(), path, metadata)
    return network.eval()


def test_depth_width_and_classes_are_read_from_the_tensors(tmp_path: Path) -> None:
    for settings in (
        {"depth": 8, "classes": 5, "in_channels": 3, "width": 4},
        {"depth": 20, "classes": 10, "in_channels": 3, "width": 8},
    ):
        network = saved(tmp_path / "net.safetensors", **settings)
        module = load_resnet(tmp_path / "net.safetensors")
        x = torch.rand(2, 3, 16, 16)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)))
        torch.testing.assert_close(module(x), network((x - mean) / std))
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())


def test_the_normalisation_may_stand_in_the_file(tmp_path: Path) -> None:
    settings = {"depth": 8, "in_channels": 1, "width": 2}
    network = saved(tmp_path / "net.safetensors", {"mean": json.dumps([0.5]), "std": json.dumps([0.1])}, **settings)
    module = load_resnet(str(tmp_path / "net.safetensors"))
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(module(x), network((x - 0.5) / 0.1))


def test_facts_of_a_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path / "net.safetensors", depth=8, width=4)
    x, y = torch.rand(30, 3, 8, 8), torch.arange(30) % 10
    images = DefenseImages(x, y, x, y)
    classifier = fixed_resnet(tmp_path / "net.safetensors", images)
    assert classifier.facts.name == "ResNet-8"
    assert 0 <= classifier.facts.accuracy <= 1
    assert classifier.facts.settings == {"file": "net.safetensors"}
    grey = DefenseImages(x[:, :1], y, x[:, :1], y)
    with pytest.raises(CheckpointMismatch, match="is of a network for 3 channels, images have shape"):
        fixed_resnet(tmp_path / "net.safetensors", grey)


def test_other_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"there is no file .*net.safetensors; train one by python -m"):
        load_resnet(tmp_path / "net.safetensors")
    (tmp_path / "text").write_text("no network")
    with pytest.raises(CheckpointDamaged, match="text is damaged"):
        load_resnet(tmp_path / "text")
    save_file({"weight": torch.zeros(2)}, tmp_path / "linear")
    with pytest.raises(CheckpointMismatch, match="linear holds no network of"):
        load_resnet(tmp_path / "linear")
    saved(tmp_path / "net", depth=8, width=2)
    tensors = load_file(tmp_path / "net")
    del tensors["layer2.0.conv1.weight"]
    save_file(tensors, tmp_path / "less")
    with pytest.raises(CheckpointMismatch, match="less holds no network of"):
        load_resnet(tmp_path / "less")
    saved(tmp_path / "odd", {"mean": "half"}, depth=8, width=2)
    with pytest.raises(CheckpointDamaged, match="odd is damaged"):
        load_resnet(tmp_path / "odd")


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ([0.5, 0.5], [1.0], "one for each channel"),
        ([0.5], [0.0], "std above 0"),
        ([float("nan")], [1.0], "must be finite"),
        (["half"], [1.0], "mean and std must be numbers"),
    ],
)
def test_bad_normalisation_is_said(mean: list[float], std: list[float], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        Normalised(nn.Identity(), mean, std)


@pytest.mark.skipif(CHECKPOINT is None, reason="needs a checkpoint, by ZOTOOLKIT_RESNET20")
@pytest.mark.skipif(not IMAGE_SETS["cifar10"].is_there(), reason="needs CIFAR-10, by ZOTOOLKIT_DATA or in data")
def test_a_trained_network_has_its_accuracy() -> None:
    classifier = fixed_resnet(str(CHECKPOINT), DefenseImages.cifar10())
    expected = float(os.environ.get("ZOTOOLKIT_RESNET20_ACCURACY", "0.8751"))
    # Another machine may round two images otherwise.
    assert classifier.facts.accuracy == pytest.approx(expected, abs=2e-4)
