from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from problems.pde.correctors import MarsMoon
from zotoolkit.errors import InvalidSetting, InvalidState


def test_number_of_parameters_and_a_small_start() -> None:
    network = MarsMoon()
    assert sum(p.numel() for p in network.parameters()) == 260_354
    output = network(torch.rand(1, 3, 16, 8))
    assert output.shape == (1, 2, 16, 8)
    assert 0 < float(output.detach().abs().max()) < 0.3


def test_it_is_residual_blocks() -> None:
    network = MarsMoon(3, 2, inputs=2, outputs=1).double()
    x = torch.rand(2, 2, 6, 5, dtype=torch.float64)
    weights = dict(network.named_parameters())

    def convolved(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=2)

    def leaky(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, 0.3 * x)

    h = leaky(convolved("first", x))
    for block in range(2):
        h = leaky(h + convolved(f"blocks.{block}.conv2", leaky(convolved(f"blocks.{block}.conv1", h))))
    torch.testing.assert_close(network(x), convolved("last", h), rtol=0, atol=1e-12)


def test_a_periodic_network_moves_with_its_input() -> None:
    network = MarsMoon(4, 1, padding_mode="circular").double()
    x = torch.rand(1, 3, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(network(x.roll((3, 2), (2, 3))), network(x).roll((3, 2), (2, 3)))


@pytest.mark.parametrize(
    "settings",
    [{"width": 0}, {"blocks": 0}, {"inputs": 0}, {"outputs": 0}, {"padding_mode": "same"}, {"last_scale": -1.0}],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        MarsMoon(**settings)


def test_fields_that_do_not_fit() -> None:
    with pytest.raises(InvalidState, match=r"\(B, 3, H, W\)"):
        MarsMoon(4, 1)(torch.zeros(2, 2, 8, 8))
