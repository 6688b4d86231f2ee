from __future__ import annotations

import pytest
import torch
from torch import nn

from problems.dnn.networks import mlp
from zotoolkit.errors import InvalidSetting


def test_widths_and_activation() -> None:
    network = mlp(6, [5, 4], 3, "tanh")
    assert [(p.in_features, p.out_features) for p in network if isinstance(p, nn.Linear)] == [(6, 5), (5, 4), (4, 3)]
    assert sum(isinstance(p, nn.Tanh) for p in network) == 2
    assert network(torch.randn(2, 1, 2, 3)).shape == (2, 3)
    assert len(mlp(6, [], 3)) == 2  # linear


def test_bad_settings_are_said() -> None:
    with pytest.raises(InvalidSetting, match="hidden must be an integer of at least 1, got 0"):
        mlp(6, [5, 0], 3)
    with pytest.raises(InvalidSetting, match="Did you mean 'sigmoid'"):
        mlp(6, 5, 3, "sigmoide")
