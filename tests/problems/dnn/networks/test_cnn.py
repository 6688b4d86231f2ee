from __future__ import annotations

import pytest
import torch
from torch import fx

from problems.dnn.networks import deepzero_cnn
from zotoolkit.errors import InvalidSetting


@pytest.mark.parametrize(("depth", "count"), [(1, 730), (2, 3_700), (3, 6_670), (4, 9_640), (5, 12_610)])
def test_parameters_are_the_papers(depth: int, count: int) -> None:
    network = deepzero_cnn(depth)
    assert sum(p.numel() for p in network.parameters()) == count
    x = torch.randn(2, 3, 32, 32)
    assert network(x).shape == (2, 10)
    torch.testing.assert_close(fx.symbolic_trace(network.eval())(x), network(x))


def test_grey_images_and_other_classes() -> None:
    assert deepzero_cnn(4, channels=6, classes=7, in_channels=1, size=28)(torch.randn(3, 1, 28, 28)).shape == (3, 7)


def test_bad_settings_are_said() -> None:
    with pytest.raises(InvalidSetting, match=r"depth must be at most 5 for images of 32 pixels.*got 6"):
        deepzero_cnn(6)
    with pytest.raises(InvalidSetting, match="depth must be at most 4 for images of 28 pixels"):
        deepzero_cnn(5, size=28)
    with pytest.raises(InvalidSetting, match="channels must be an integer of at least 1, got 0"):
        deepzero_cnn(channels=0)
