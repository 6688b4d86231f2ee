from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from problems.pde.correctors import MediumConvolutions, Mercury, PlainConvolutions, SmallConvolutions
from zotoolkit.errors import InvalidSetting, InvalidState


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (PlainConvolutions, 278),
        (SmallConvolutions, 278),
        (lambda: PlainConvolutions((3, 8, 2)), 370),
        (MediumConvolutions, 8434),
        (Mercury, 56898),
    ],
)
def test_numbers_of_parameters_and_a_small_start(make: Callable[[], nn.Module], count: int) -> None:
    network = make()
    assert sum(p.numel() for p in network.parameters()) == count
    fields = torch.rand(2, 3, 16, 8)
    output = network(fields)
    assert output.shape == (2, 2, 16, 8)
    assert 0 < float(output.detach().abs().max()) < 0.3
    assert not bool(network(torch.zeros(1, 3, 9, 7))[0].isnan().any())


def test_it_is_convolutions_one_after_the_other() -> None:
    network = PlainConvolutions((2, 5, 4, 3), 5, padding_mode="circular", activation=nn.Tanh).double()
    first, second, last = (layer for layer in network.layers if isinstance(layer, nn.Conv2d))
    x = torch.rand(2, 2, 7, 6, dtype=torch.float64)

    def turned(layer: nn.Conv2d, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (2, 2, 2, 2), "circular"), layer.weight, layer.bias)

    wanted = turned(last, turned(second, turned(first, x).tanh()).tanh())
    torch.testing.assert_close(network(x), wanted, rtol=0, atol=1e-13)
    assert not last.bias.any()  # pyright: ignore[reportOptionalMemberAccess]


def test_a_periodic_network_moves_with_its_input() -> None:
    network = SmallConvolutions("circular").double()
    x = torch.rand(1, 3, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(network(x.roll((3, 2), (2, 3))), network(x).roll((3, 2), (2, 3)))


def test_gradients() -> None:
    network = PlainConvolutions((1, 2, 1)).double()
    assert torch.autograd.gradcheck(network, (torch.rand(1, 1, 4, 3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": (3,)},
        {"channels": (3, 0, 2)},
        {"channels": "362"},
        {"channels": 3},
        {"kernel": 4},
        {"kernel": 0},
        {"padding_mode": "zero"},
        {"activation": 3},
        {"activation": lambda: 3},
        {"last_scale": 0.0},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        PlainConvolutions(**settings)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 2, 8, 8), (2, 3, 8)])
def test_fields_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidState, match=r"\(B, 3, H, W\)"):
        SmallConvolutions()(torch.zeros(shape))
