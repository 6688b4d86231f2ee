"""The forced Burgers equation: exact solutions at the scheme's order, the force term by term, states that fit."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from problems.pde.simulators import Burgers, ForcedBurgers, burgers_wave, rollout
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState

SIDE = 2 * math.pi


def _potential_flow(burgers: ForcedBurgers, time: float) -> Tensor:
    """An exact solution without force, by Cole and Hopf: -2 nu grad phi / phi, where phi solves the heat equation."""
    nu, waves = burgers.viscosity, ((0.4, 1, 0), (0.3, 0, 1), (0.25, 1, 1))
    state = torch.zeros(1, *burgers.fields, dtype=torch.float64)
    for component in range(2):
        y, x = burgers._faces(component)
        phi, slope = torch.ones(len(y), len(x)).double(), torch.zeros(len(y), len(x)).double()
        for amplitude, k_y, k_x in waves:
            decayed = amplitude * math.exp(-nu * (k_y**2 + k_x**2) * time)
            phi += decayed * torch.cos(k_y * y[:, None] + k_x * x)
            slope -= decayed * (k_y, k_x)[component] * torch.sin(k_y * y[:, None] + k_x * x)
        state[0, component] = -2 * nu * slope / phi
    state[0, 2] = time
    return state


def test_an_exact_solution_in_two_dimensions_at_first_order() -> None:
    """Time step and cells shrink together; semi-Lagrangian advection is of order 1 then."""
    errors = []
    for points, steps in ((16, 20), (32, 40), (64, 80), (128, 160)):
        burgers = ForcedBurgers(points, 2.0 / steps, viscosity=0.04, forces=0, length=SIDE)
        found = rollout(burgers, _potential_flow(burgers, 0.0), None, steps, steps)[-1]
        errors.append(float((found - _potential_flow(burgers, 2.0)).abs().max()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert orders[-1] == pytest.approx(1, abs=0.15)
    assert errors[-1] < 5e-4


def test_a_flow_along_one_axis_is_the_one_dimensional_equation() -> None:
    points, steps = 64, 64
    burgers = ForcedBurgers(points, 0.5 / steps, viscosity=0.2, forces=0, length=SIDE)
    state = torch.zeros(1, 3, points, points, dtype=torch.float64)
    wave = burgers_wave(points, 0.0, viscosity=0.2, amplitudes=(0.5,))
    state[0, 1] = wave
    found = rollout(burgers, state, None, steps, steps)[-1]
    viscosity = torch.tensor([[0.2]], dtype=torch.float64)
    line = Burgers(points=points, dt=0.5, substeps=50).step(wave[None], viscosity)
    assert float((found[0, 1] - line).abs().max()) < 1e-2 * float(line.abs().max())
    assert not bool(found[0, 0].any())
    torch.testing.assert_close(found[0, 2], torch.full_like(found[0, 2], 0.5))


def test_the_force_term_by_term() -> None:
    burgers = ForcedBurgers(8, 0.1, forces=3)
    state, params = burgers.start(2, dtype=torch.float64), burgers.random_forces(2, dtype=torch.float64)
    state[0, 2], state[1, 2] = 0.7, 11.0
    wanted = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
    for row in range(2):
        waves = params[row].view(6, 3)
        for component in range(2):
            for i in range(8):
                for j in range(8):
                    y, x = (i, j + 0.5) if component == 0 else (i + 0.5, j)
                    for wave in range(3):
                        angle = waves[2, wave] * 4 * y + waves[3, wave] * 4 * x
                        angle = angle + waves[4, wave] + waves[5, wave] * state[row, 2, 0, 0]
                        wanted[row, component, i, j] += waves[component, wave] * torch.sin(angle)
    torch.testing.assert_close(burgers.force(state, params), wanted)
    still = burgers.start(2, dtype=torch.float64)
    still[:, :2] = 0
    pushed = burgers.step(still, params)
    torch.testing.assert_close(pushed[:, :2], 0.1 * burgers.force(still, params))
    torch.testing.assert_close(pushed[:, 2], torch.full_like(pushed[:, 2], 0.1))


def test_forces_are_as_in_the_paper_and_fit_the_square() -> None:
    burgers = ForcedBurgers()
    assert len(burgers.parameters) == 120
    assert burgers.parameters[20] == "amplitude_x_0"
    waves = burgers.random_forces(200).unflatten(1, (6, 20))
    assert float(waves[:, :2].abs().max()) <= 0.15
    assert float(waves[:, :2].abs().max()) > 0.14
    lengths = waves[:, 2:4].norm(dim=1)
    assert 0.6 < float(lengths.min()) < 0.85
    assert 1.55 < float(lengths.max()) < 1.8
    turns = waves[:, 2:4] * 32 / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), rtol=0, atol=1e-4)
    assert float(waves[:, 5].abs().max()) <= 0.4
    assert torch.equal(burgers.random_forces(3, seed=4), burgers.random_forces(3, seed=4))
    assert not torch.equal(burgers.random_forces(3, seed=4), burgers.random_forces(3, seed=5))


def test_starts_are_the_same_functions_on_every_grid() -> None:
    burgers = ForcedBurgers(32)
    fine = burgers.finer().start(64, seed=3)
    coarse = burgers.start(64, seed=3)
    assert float((burgers.downsample(fine, 32) - coarse).abs().max()) < 0.02
    assert float(coarse[:, :2].var()) == pytest.approx(4, rel=0.3)
    assert not bool(coarse[:, 2].any())
    assert torch.equal(ForcedBurgers(32).start(64, seed=3), coarse)
    assert ForcedBurgers(4).start(1).shape == (1, 3, 4, 4)


def test_the_reference_and_the_coarse_solver_part() -> None:
    """There is something to correct."""
    coarse = ForcedBurgers(16)
    fine = coarse.finer()
    assert (fine.points, fine.dt, fine.length, fine.viscosity) == (64, 0.1, 32.0, 0.1)
    states, params = fine.start(2), fine.random_forces(2)
    truth = coarse.downsample(rollout(fine, states, params, 20, 20), 16)
    alone = rollout(coarse, truth[0], params, 20, 20)
    error = float((alone[-1] - truth[-1])[:, :2].norm() / truth[-1][:, :2].norm())
    assert 0.02 < error < 0.5
    torch.testing.assert_close(alone[-1][:, 2], truth[-1][:, 2])


def test_rows_are_alone_and_the_input_stays() -> None:
    burgers = ForcedBurgers(8, chunk=2)
    state, params = burgers.start(3), burgers.random_forces(3)
    given = state.clone()
    together = burgers.step(state, params)
    assert torch.equal(state, given)
    for row in range(3):
        torch.testing.assert_close(burgers.step(state[row : row + 1], params[row : row + 1])[0], together[row])
    state[1, 0, 2, 2] = torch.nan
    after = burgers.step(state, params)
    assert bool(after[1].isnan().all())
    assert torch.equal(after[0], together[0])
    assert torch.equal(after[2], together[2])


def test_gradients() -> None:
    burgers = ForcedBurgers(4, forces=2, length=4.0)
    state = burgers.start(1, dtype=torch.float64).requires_grad_(True)
    params = burgers.random_forces(1, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(burgers.step, (state, params))


def test_diffusion_that_is_unstable_is_said() -> None:
    with pytest.warns(CFLWarning, match=r"0\.4, above 0\.25.*dt <= 0\.0625"):
        ForcedBurgers(64, 0.1, viscosity=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ForcedBurgers(64, 0.1, viscosity=0.0).finer()


@pytest.mark.parametrize(
    "settings",
    [
        {"points": 3},
        {"dt": 0.0},
        {"viscosity": -1.0},
        {"forces": -1},
        {"forces": 1.5},
        {"length": 0.0},
        {"chunk": 0},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        ForcedBurgers(**settings)


def test_inputs_that_do_not_fit() -> None:
    burgers = ForcedBurgers(8)
    with pytest.raises(InvalidState, match=r"\(B, 3, 8, 8\)"):
        burgers.step(torch.zeros(1, 2, 8, 8), burgers.random_forces(1))
    with pytest.raises(InvalidState, match=r"\(1, 120\)"):
        burgers.force(burgers.start(1), torch.zeros(1, 3))
    with pytest.raises(InvalidSetting):
        burgers.start(0)
    with pytest.raises(InvalidSetting):
        burgers.random_forces(1, seed=-1)
    with pytest.raises(InvalidState, match=r"\(..., 3, n, n\)"):
        burgers.downsample(torch.zeros(2, 8, 8), 4)
