"""The smoke: exact flows at the scheme's order, what is conserved, symmetry, and what does not fit."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from problems.pde.simulators import SmokeFlow, rollout
from problems.pde.simulators.wake import divergence
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState
from zotoolkit.seeding import torch_generator

SIDE = math.pi


def _taylor_green(smoke: SmokeFlow, time: float) -> Tensor:
    """A vortex that fills the box of side pi and slips along its walls; viscosity makes it decay, nothing else."""
    n = smoke.resolution
    edge = math.pi * torch.arange(n + 1, dtype=torch.float64) / n
    center = math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    state = torch.zeros(1, *smoke.fields, dtype=torch.float64)
    state[0, 0, :, :-1] = -torch.sin(edge)[:, None] * torch.cos(center)
    state[0, 1, :-1] = torch.cos(center)[:, None] * torch.sin(edge)
    return state * math.exp(-2 * smoke.viscosity * time)


@pytest.mark.parametrize("viscosity", [0.0, 0.01])
def test_the_taylor_green_vortex_at_first_order(viscosity: float) -> None:
    """Time step and cells shrink together; semi-Lagrangian advection is of order 1 then."""
    none, errors = torch.zeros(1, 1, dtype=torch.float64), []
    for cells, steps in ((16, 8), (32, 16), (64, 32)):
        smoke = SmokeFlow(cells, 0.5 / steps, length=SIDE, viscosity=viscosity)
        found = rollout(smoke, _taylor_green(smoke, 0.0), none, steps, steps)[-1]
        errors.append(float((found - _taylor_green(smoke, 0.5)).norm() / _taylor_green(smoke, 0.5).norm()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert orders[-1] == pytest.approx(1, abs=0.2)
    assert errors[-1] < 0.02


def test_viscosity_at_second_order_in_space() -> None:
    """With the vortex slow, only diffusion acts; the time step is of second order in the cells' width."""
    none, errors = torch.zeros(1, 1, dtype=torch.float64), []
    for cells, steps in ((8, 4), (16, 16), (32, 64)):
        smoke = SmokeFlow(cells, 0.25 / steps, length=SIDE, viscosity=0.5)
        slow = 1e-6 * _taylor_green(smoke, 0.0)
        found = rollout(smoke, slow, none, steps, steps)[-1]
        errors.append(float((found - slow * math.exp(-0.25)).norm() / slow.norm()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert orders == pytest.approx([2, 2], abs=0.2)


@pytest.mark.parametrize(("dtype", "left"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
def test_the_flow_has_no_divergence_and_walls_are_closed(dtype: torch.dtype, left: float) -> None:
    smoke = SmokeFlow(16)
    state = rollout(smoke, smoke.start(2, dtype=dtype), torch.tensor([[0.1], [0.3]], dtype=dtype), 10, 10)[-1]
    assert float(divergence(state[:, :2]).abs().max()) <= left
    outside = state.clone()
    outside[:, 0, 1:-1, :-1] = 0
    outside[:, 1, :-1, 1:-1] = 0
    outside[:, 2, :-1, :-1] = 0
    assert not bool(outside.any())


def test_smoke_rises_and_sinks() -> None:
    smoke = SmokeFlow(16)
    state = smoke.start(1).repeat(3, 1, 1, 1)
    after = rollout(smoke, state, torch.tensor([[0.1], [0.0], [-0.1]]), 10, 10)[-1]

    def height(state: Tensor) -> Tensor:
        marker = state[:, 2, :-1, :-1].sum(2)
        return (marker * torch.arange(16)).sum(1) / marker.sum(1)

    up, rest, down = (height(after) - height(state)).tolist()
    assert up > 0.1
    assert down < -0.1
    assert rest == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(after[1], state[1], rtol=0, atol=1e-5)


def test_buoyancy_by_hand() -> None:
    """At rest and with an even layer of smoke, pressure balances it; what is uneven remains."""
    smoke = SmokeFlow(8)
    even = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    even[0, 2, :4, :8] = 1.0
    after = smoke.step(even, torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(after, even)


def test_a_mirrored_start_gives_a_mirrored_flow() -> None:
    smoke = SmokeFlow(16, inflow=0.1)
    state = smoke.start(2, seed=3, dtype=torch.float64)
    params = torch.full((2, 1), 0.2, dtype=torch.float64)

    def mirrored(state: Tensor) -> Tensor:
        out = torch.zeros_like(state)
        out[:, 0, :, :-1] = state[:, 0, :, :-1].flip(-1)
        out[:, 1] = -state[:, 1].flip(-1)
        out[:, 2, :, :-1] = state[:, 2, :, :-1].flip(-1)
        return out

    there = rollout(smoke, state, params, 8, 8)[-1]
    torch.testing.assert_close(mirrored(there), rollout(smoke, mirrored(state), params, 8, 8)[-1])


def test_inflow_brings_smoke() -> None:
    smoke = SmokeFlow(16, inflow=0.2)
    after = rollout(smoke, torch.zeros(1, 3, 17, 17), torch.tensor([[0.1]]), 5, 1)[:, 0, 2].sum((1, 2))
    assert bool((after.diff() > 0).all())
    area = math.pi * 0.08**2 * 16**2
    assert float(after[1]) == pytest.approx(0.2 * area, rel=0.05)
    assert not bool(SmokeFlow(16).step(torch.zeros(1, 3, 17, 17), torch.ones(1, 1)).any())


def test_starts_are_the_same_clouds_on_every_grid() -> None:
    coarse = SmokeFlow(32)
    fine = coarse.finer()
    assert (fine.resolution, fine.dt, fine.length) == (128, 1.0, 100.0)
    start = coarse.start(4, seed=2)
    assert float((fine.downsample(fine.start(4, seed=2), 32) - start).abs().mean()) < 0.01
    assert not bool(start[:, :2].any())
    assert 0.02 < float(start[:, 2].mean()) < 0.3
    assert torch.equal(start, coarse.start(4, seed=2))
    assert not torch.equal(start, coarse.start(4, seed=3))


def test_down_sampling_keeps_flow_and_marker() -> None:
    smoke = SmokeFlow(16)
    state = rollout(smoke, smoke.start(2, dtype=torch.float64), torch.full((2, 1), 0.3).double(), 5, 5)[-1]
    coarse = smoke.downsample(state, 4)
    assert coarse.shape == (2, 3, 5, 5)
    assert float(divergence(coarse[:, :2]).abs().max()) < 1e-13
    torch.testing.assert_close(16 * coarse[:, 2].sum((1, 2)), state[:, 2].sum((1, 2)))
    assert torch.equal(smoke.downsample(state, 16), state)
    with pytest.raises(InvalidSetting, match="does not divide"):
        smoke.downsample(state, 5)
    for wrong in (state[:, :2], state[..., :-1], state[0, 0]):
        with pytest.raises(InvalidState, match=r"\(..., 3, n \+ 1, n \+ 1\)"):
            smoke.downsample(wrong, 4)


@pytest.mark.parametrize("advection", ["maccormack", "semi-lagrangian"])
def test_the_reference_and_the_coarse_solver_part(advection: Any) -> None:
    """There is something to correct."""
    coarse = SmokeFlow(16, advection=advection)
    fine = coarse.finer()
    params = torch.tensor([[0.1], [0.2]])
    truth = coarse.downsample(rollout(fine, fine.start(2), params, 15, 15), 16)
    alone = rollout(coarse, truth[0], params, 15, 15)[-1]
    error = float((alone - truth[-1])[:, :2].norm() / truth[-1][:, :2].norm())
    assert 0.02 < error < 0.5


def test_rows_are_alone_and_the_input_stays() -> None:
    smoke = SmokeFlow(8, viscosity=0.1, inflow=0.1, chunk=2)
    state, params = rollout(smoke, smoke.start(3), torch.full((3, 1), 0.2), 2, 2)[-1], torch.full((3, 1), 0.2)
    given = state.clone()
    together = smoke.step(state, params)
    assert torch.equal(state, given)
    for row in range(3):
        torch.testing.assert_close(smoke.step(state[row : row + 1], params[row : row + 1])[0], together[row])
    littered = state.clone()
    littered[:, 0, :, -1] = littered[:, 1, -1] = littered[:, 2, -1] = littered[:, 2, :, -1] = 7.0
    torch.testing.assert_close(smoke.step(littered, params), together)
    state[1, 0, 2, 2] = torch.inf
    after = smoke.step(state, params)
    assert bool(after[1].isnan().all())
    torch.testing.assert_close(after[[0, 2]], together[[0, 2]])


def test_gradients() -> None:
    smoke = SmokeFlow(4, viscosity=0.5, inflow=0.1)
    state = 5 * torch.randn(1, 3, 5, 5, generator=torch_generator(0), dtype=torch.float64)
    params = torch.tensor([[0.7]], dtype=torch.float64)
    assert torch.autograd.gradcheck(smoke.step, (state.requires_grad_(True), params.requires_grad_(True)))


def test_diffusion_that_is_unstable_is_said() -> None:
    with pytest.warns(CFLWarning, match=r"0\.4, above 0\.25"):
        SmokeFlow(10, viscosity=40.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SmokeFlow(10, viscosity=20.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"resolution": 3},
        {"dt": 0.0},
        {"length": -1.0},
        {"viscosity": -0.1},
        {"inflow": -0.1},
        {"advection": "mac-cormack"},
        {"chunk": 0},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        SmokeFlow(**settings)


def test_inputs_that_do_not_fit() -> None:
    smoke = SmokeFlow(8)
    with pytest.raises(InvalidState, match=r"\(B, 3, 9, 9\)"):
        smoke.step(torch.zeros(1, 2, 9, 9), torch.ones(1, 1))
    with pytest.raises(InvalidState, match="buoyancy"):
        smoke.step(smoke.start(1), None)
    with pytest.raises(InvalidSetting):
        smoke.start(0)
