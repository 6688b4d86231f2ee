from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, vmap

from problems.pde.correctors import PeriodicConvolutions
from zotoolkit.errors import InvalidSetting, InvalidState


def plain(network: PeriodicConvolutions) -> nn.Module:
    """The same network as torch's own layers compute it."""
    return nn.Sequential(nn.Unflatten(1, (1, -1)), network.conv1, nn.ReLU(), network.conv2, nn.Flatten())


@given(
    width=st.integers(1, 9),
    reach=st.integers(0, 3),
    extra=st.integers(0, 20),
    count=st.integers(1, 5),
)
def test_it_is_two_convolutions(width: int, reach: int, extra: int, count: int) -> None:
    network = PeriodicConvolutions(width, 2 * reach + 1).double()
    state = torch.rand(count, max(1, 2 * reach) + extra, dtype=torch.float64)
    torch.testing.assert_close(network(state), plain(network)(state), rtol=0, atol=1e-13)


def test_counts_and_start() -> None:
    assert sum(p.numel() for p in PeriodicConvolutions().parameters()) == 89
    assert sum(p.numel() for p in PeriodicConvolutions(16, 3).parameters()) == 4 * 16 + 3 * 16 + 1
    state = torch.rand(4, 48)
    assert float(PeriodicConvolutions().forward(state).detach().abs().max()) < 0.2
    assert PeriodicConvolutions()(torch.zeros(0, 48)).shape == (0, 48)


def test_gradients_and_many_weights_at_once() -> None:
    network = PeriodicConvolutions().double()
    state = torch.rand(2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (state,))
    many = {name: torch.stack((p, 2 * p)).detach() for name, p in network.named_parameters()}
    both = vmap(lambda weights: functional_call(network, weights, (state.detach(),)))(many)
    torch.testing.assert_close(both[0], network(state).detach())
    torch.testing.assert_close(both[1], functional_call(network, {n: p[1] for n, p in many.items()}, (state,)).detach())


@pytest.mark.parametrize("settings", [{"width": 0}, {"kernel": 4}, {"kernel": 0}, {"last_scale": 0.0}])
def test_settings_out_of_range(settings: dict[str, int]) -> None:
    with pytest.raises(InvalidSetting):
        PeriodicConvolutions(**settings)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 48)])
def test_states_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidState, match="states of at least 4 points"):
        PeriodicConvolutions()(torch.zeros(shape))
