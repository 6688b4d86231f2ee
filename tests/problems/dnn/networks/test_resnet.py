from __future__ import annotations

import pytest
import torch
from torch import fx
from torch.func import functional_call, vmap

from problems.dnn.networks import CifarResNet, OptionAShortcut
from zotoolkit.engines import Kind, ParameterLayout
from zotoolkit.errors import InvalidSetting


@pytest.mark.parametrize(
    ("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_parameters(depth: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CifarResNet(depth).parameters()) == count


def test_names_are_those_of_published_checkpoints() -> None:
    names = set(CifarResNet(20).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer3.2.bn2.bias", "fc.bias"} <= names
    assert len(names) == 19 * 6 + 2  # 19 convolutions, each with its batch norm, and the linear layer


def test_what_deepzero_masks() -> None:
    layout = ParameterLayout.of(CifarResNet(20))
    assert len(layout.coordinates(Kind.CONV_WEIGHT, Kind.LINEAR_WEIGHT)) == 268_336
    assert len(layout.coordinates(Kind.NORM, Kind.BIAS)) == 1_386


def test_option_a_takes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    x = torch.randn(2, 3, 6, 6)
    out = OptionAShortcut(3, 8, 2)(x)
    expected = torch.zeros(2, 8, 3, 3)
    for row in range(3):
        for column in range(3):
            expected[:, 2:5, row, column] = x[:, :, 2 * row, 2 * column]
    assert torch.equal(out, expected)
    with pytest.raises(InvalidSetting, match="cannot drop channels, got 4 before and 2 after"):
        OptionAShortcut(4, 2, 2)


@pytest.mark.parametrize("training", [True, False])
def test_it_can_be_traced_and_batched(training: bool) -> None:
    network = CifarResNet(8, classes=5, in_channels=2, width=4).train(training)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d) and training:
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
            part.num_batches_tracked = None
    x = torch.randn(3, 2, 12, 12)
    plain = network(x)
    assert plain.shape == (3, 5)
    torch.testing.assert_close(fx.symbolic_trace(network)(x), plain)
    stacked = {name: torch.stack((p, 2 * p)).detach() for name, p in network.named_parameters()}
    both = vmap(lambda parameters: functional_call(network, parameters, (x,)))(stacked)
    torch.testing.assert_close(both[0], plain.detach(), rtol=1e-4, atol=1e-5)


def test_inputs_are_left_alone() -> None:
    x = torch.randn(2, 3, 8, 8)
    before = x.clone()
    CifarResNet(8)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth": 21}, "depth must be 6n \\+ 2, such as 20, 32, 44, 56 or 110, got 21"),
        ({"depth": 2}, "depth must be an integer of at least 8, got 2"),
        ({"classes": 0}, "classes must be an integer of at least 1"),
    ],
)
def test_bad_settings_are_said(settings: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        CifarResNet(**settings)
