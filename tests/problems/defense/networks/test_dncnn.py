from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.func import functional_call, vmap

from problems.defense.networks import DnCNN
from zotoolkit.errors import InvalidSetting


def test_the_published_count() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in DnCNN(17, 64, 3).parameters()) == 558_400


@settings(max_examples=25)
@given(depth=st.integers(2, 6), width=st.integers(1, 12), channels=st.integers(1, 4))
def test_counts_and_shapes_of_any_size(depth: int, width: int, channels: int) -> None:
    network = DnCNN(depth, width, channels)
    count = 18 * width * channels + width + (depth - 2) * (9 * width**2 + 2 * width)
    assert sum(p.numel() for p in network.parameters()) == count
    images = torch.rand(2, channels, 6, 9)
    assert network(images).shape == images.shape
    assert [type(part) for part in network.noise].count(nn.Conv2d) == depth


def test_it_returns_its_input_less_the_noise() -> None:
    network, images = DnCNN(4, 8, 1).eval(), torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(network(images) + network.noise(images), images)
    with torch.no_grad():
        for part in network.parameters():
            part.zero_()
    assert torch.equal(network(images), images)


@pytest.mark.parametrize("training", [True, False])
def test_it_can_be_traced_and_batched(training: bool) -> None:
    network = DnCNN(4, 6, 2).train(training)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d) and training:
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
            part.num_batches_tracked = None
    x = torch.rand(3, 2, 8, 8)
    plain = network(x)
    torch.testing.assert_close(fx.symbolic_trace(network)(x), plain)
    stacked = {name: torch.stack((p, 2 * p)).detach() for name, p in network.named_parameters()}
    both = vmap(lambda parameters: functional_call(network, parameters, (x,)))(stacked)
    torch.testing.assert_close(both[0], plain.detach(), rtol=1e-4, atol=1e-5)


def test_inputs_are_left_alone() -> None:
    images = torch.rand(2, 3, 8, 8)
    before = images.clone()
    DnCNN(3, 4)(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"depth": 1}, "depth must be an integer of at least 2, got 1"),
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"channels": 1.5}, "channels must be an integer of at least 1, got 1.5"),
    ],
)
def test_bad_settings_are_said(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        DnCNN(**sizes)
