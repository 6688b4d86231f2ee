"""Couplings of the two-dimensional flows: what the network sees, where its output goes, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.pde.coupling import Coupling, corrected
from problems.pde.couplings_2d import WithForce, WithMarker
from problems.pde.simulators import ForcedBurgers, KuramotoSivashinsky
from zotoolkit.errors import InvalidSetting, InvalidState

BURGERS = ForcedBurgers(8, forces=3)


def at_times(times: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """States at these times, each under a force of its own."""
    state = BURGERS.start(len(times), seed=1)
    state[:, 2] = torch.tensor(times)[:, None, None]
    return state, BURGERS.random_forces(len(times), seed=2)


def test_the_force_is_seen_beside_the_velocity() -> None:
    state, params = at_times([0.0, 1.5, 3.0])
    inputs = WithForce(BURGERS, 2.0, 0.5).inputs(state, params)
    assert torch.equal(inputs[:, :2], state[:, :2] / 2)
    assert torch.equal(inputs[:, 2:], BURGERS.force(state, params) / 0.5)


@pytest.mark.parametrize("expanded", [True, False])
def test_candidates_share_the_force_of_their_windows(expanded: bool) -> None:
    state, params = at_times([0.0, 1.5])
    many = state.expand(5, *state.shape).clone()
    many[:, :, :2] += torch.randn(5, 2, 2, 8, 8)
    rows = params.expand(5, *params.shape)
    inputs = WithForce(BURGERS, 1.0, 1.0).inputs(many, rows if expanded else rows.clone())
    assert inputs.shape == (5, 2, 4, 8, 8)
    assert torch.equal(inputs[:, :, :2], many[:, :, :2])
    torch.testing.assert_close(inputs[:, :, 2:], BURGERS.force(state, params).expand(5, 2, 2, 8, 8))


def test_states_at_different_times_share_no_force() -> None:
    state, params = at_times([0.0, 1.5])
    many = torch.stack((state, state.flip(0)))
    many[1, :, 2] += 1.0
    inputs = WithForce(BURGERS, 1.0, 1.0).inputs(many, params.expand(2, *params.shape))
    for row in range(2):
        torch.testing.assert_close(inputs[row, :, 2:], BURGERS.force(many[row], params))


@pytest.mark.parametrize("lead", [(3,), (5, 3)])
def test_the_time_stays(lead: tuple[int, ...]) -> None:
    state = torch.randn(*lead, 3, 8, 8)
    after = WithForce(BURGERS, 0.5, 1.0).add(state, torch.ones(*lead, 2, 8, 8))
    assert torch.equal(after[..., :2, :, :], state[..., :2, :, :] + 0.5)
    assert torch.equal(after[..., 2, :, :], state[..., 2, :, :])


@pytest.mark.parametrize("lead", [(3,), (5, 3)])
def test_the_marker_is_seen_and_stays(lead: tuple[int, ...]) -> None:
    state, params = torch.randn(*lead, 3, 9, 9), torch.rand(*lead, 1)
    coupling = WithMarker(0.5, 0.25, [2.0])
    inputs = coupling.inputs(state, params)
    assert inputs.shape == (*lead, 4, 8, 8)
    assert torch.equal(inputs[..., :2, :, :], state[..., :2, :-1, :-1] / 0.5)
    assert torch.equal(inputs[..., 2, :, :], state[..., 2, :-1, :-1] / 0.25)
    assert torch.equal(inputs[..., 3, 4, 5], params[..., 0] / 2)
    after = coupling.add(state, torch.ones(*lead, 2, 8, 8))
    assert torch.equal(after[..., :2, :-1, :-1], state[..., :2, :-1, :-1] + 0.5)
    assert torch.equal(after[..., 2, :, :], state[..., 2, :, :])
    assert torch.equal(after[..., -1, :], state[..., -1, :])
    assert torch.equal(after[..., -1], state[..., -1])


@pytest.mark.parametrize("coupling", [WithForce(BURGERS, 1.0, 1.0), WithMarker(1.0, 1.0, [1.0] * 18)])
def test_nothing_is_written_into(coupling: Coupling) -> None:
    state, params = at_times([0.0, 1.0])
    before, size = state.clone(), 8 if isinstance(coupling, WithForce) else 7
    assert isinstance(coupling, Coupling)
    corrected(coupling, lambda inputs: torch.ones(2, 2, size, size), state, params)
    coupling.inputs(state, params).mul_(2)
    assert torch.equal(state, before)


@pytest.mark.parametrize("coupling", [WithForce(BURGERS, 1.0, 1.0), WithMarker(1.0, 1.0, [1.0])])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 2, 9, 9), (1, 2, 8, 8), (2, 8, 8)])
def test_outputs_of_another_shape(coupling: Coupling, shape: tuple[int, ...]) -> None:
    size = 8 if isinstance(coupling, WithForce) else 9
    with pytest.raises(InvalidState, match="two velocities a cell"):
        coupling.add(torch.zeros(2, 3, size, size), torch.zeros(shape))


def test_parameters_that_have_no_scale() -> None:
    with pytest.raises(InvalidSetting, match="params_scale must hold 2 numbers"):
        WithMarker(1.0, 1.0, [1.0]).inputs(torch.zeros(2, 3, 9, 9), torch.zeros(2, 2))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), "1"])
@pytest.mark.parametrize(
    "make",
    [
        lambda s: WithForce(BURGERS, s, 1.0),
        lambda s: WithForce(BURGERS, 1.0, s),
        lambda s: WithMarker(s, 1.0, [1.0]),
        lambda s: WithMarker(1.0, s, [1.0]),
        lambda s: WithMarker(1.0, 1.0, [s]),
    ],
)
def test_scales_are_positive(make: Any, scale: Any) -> None:
    with pytest.raises(InvalidSetting, match="scale"):
        make(scale)


def test_a_force_wants_its_simulator() -> None:
    other: Any = KuramotoSivashinsky()
    with pytest.raises(InvalidSetting, match="simulator must be a ForcedBurgers"):
        WithForce(other, 1.0, 1.0)


def test_what_they_say_of_themselves() -> None:
    assert repr(WithForce(BURGERS, 1.5, 0.25)) == "WithForce(scale=1.5, force_scale=0.25)"
    assert repr(WithMarker(1.5, 0.25, [2.0])) == "WithMarker(scale=1.5, marker_scale=0.25, params_scale=[2.0])"
