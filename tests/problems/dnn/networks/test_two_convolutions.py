from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.dnn.networks import two_convolutions
from zotoolkit.errors import InvalidSetting


@pytest.mark.parametrize(
    ("settings", "count", "shape"),
    [
        ({}, 1898, (1, 8, 8)),
        ({"channels": 4}, 666, (1, 8, 8)),
        ({"in_channels": 3, "size": 32, "classes": 7}, 224 + 1168 + 7 * 1025, (3, 32, 32)),
        ({"size": 7}, 80 + 1168 + 170, (1, 7, 7)),
    ],
)
def test_sizes(settings: dict[str, Any], count: int, shape: tuple[int, ...]) -> None:
    network = two_convolutions(**settings)
    assert sum(p.numel() for p in network.parameters()) == count
    assert network(torch.rand(2, *shape)).shape == (2, settings.get("classes", 10))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"channels": 0}, "channels must be an integer of at least 1"),
        ({"size": 3}, "size must be at least 4, the image is halved twice; got 3"),
        ({"activation": "rely"}, "Did you mean 'relu'"),
    ],
)
def test_bad_settings_are_said(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        two_convolutions(**settings)
