"""A ResNet-20 that was trained elsewhere loads and has the accuracy that it was trained to.

Needs CIFAR-10 (ZOTOOLKIT_DATA) and a checkpoint: ZOTOOLKIT_RESNET20 names a safetensors file with the names of
`CifarResNet`, ZOTOOLKIT_RESNET20_ACCURACY its test accuracy (0.8751 unless given).
"""

from __future__ import annotations

import copy
import os

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from problems.dnn import CifarResNet, CropFlip, TrainNetwork, cifar10
from problems.dnn.data import IMAGE_SETS
from problems.dnn.evaluation import figures

CHECKPOINT = os.environ.get("ZOTOOLKIT_RESNET20")

pytestmark = [
    pytest.mark.skipif(CHECKPOINT is None, reason="needs a checkpoint, by ZOTOOLKIT_RESNET20"),
    pytest.mark.skipif(not IMAGE_SETS["cifar10"].is_there(), reason="needs CIFAR-10, by ZOTOOLKIT_DATA or in data"),
]


def test_a_checkpoint_has_its_accuracy() -> None:
    network = CifarResNet(20)
    network.load_state_dict(load_file(str(CHECKPOINT)))
    data = cifar10()
    assert data.test_inputs is not None
    assert data.test_targets is not None
    found = figures(network.eval(), functional.cross_entropy, data, data.test_inputs, data.test_targets)
    expected = float(os.environ.get("ZOTOOLKIT_RESNET20_ACCURACY", "0.8751"))
    assert found["accuracy"] == pytest.approx(expected, abs=2e-4)  # another machine may round two images otherwise
    part = data.subset(test=2000)
    objective = TrainNetwork(
        lambda: copy.deepcopy(network),
        part,
        batch_size=256,
        augment=CropFlip(),
        norm_samples=1000,
        evaluation_samples=1,
    )
    x0, _ = objective.reset(seed=0)
    assert torch.equal(x0, objective.layout.flatten(network))
    assert objective.metrics(x0)["test_accuracy"] > expected - 0.02  # on statistics re-estimated from 1,000 images
