from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.pde.simulators import Burgers, burgers_wave, downsample, rollout
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState

DOUBLE = torch.float64


def nu(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=DOUBLE)[:, None]


@pytest.mark.filterwarnings("ignore::zotoolkit.errors.CFLWarning")  # long steps are the point of it
@pytest.mark.parametrize("dealias", [True, False])
@pytest.mark.parametrize("order", [2, 4])
def test_order_in_time(order: int, dealias: bool) -> None:
    """Against the exact solution: halving the substep divides the error by 2^order."""
    start, truth = (
        torch.stack([burgers_wave(96, t, viscosity=v, amplitudes=(0.5, 0.2), speed=0.3) for v in (0.2, 0.4)])
        for t in (0.0, 1.0)
    )
    errors = []
    for substeps in (16, 32, 64):
        solver = Burgers(points=96, dt=1.0, substeps=substeps, order=order, dealias=dealias)
        errors.append(float((solver.step(start, nu(0.2, 0.4)) - truth).abs().max()))
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([order, order], abs=0.1)


def test_spectral_convergence_in_space() -> None:
    wave = {"viscosity": 0.2, "amplitudes": (0.9,)}
    errors = []
    for points in (16, 32, 64, 128):
        solver = Burgers(points=points, dt=0.5, substeps=100)
        after = solver.step(burgers_wave(points, 0.0, **wave)[None], nu(0.2))[0]
        errors.append(float((after - burgers_wave(points, 0.5, **wave)).abs().max()))
    assert errors[1] < 0.1 * errors[0]
    assert errors[2] < 0.01 * errors[1]
    assert errors[3] < 1e-9


def test_each_row_has_its_own_viscosity() -> None:
    solver = Burgers()
    state = solver.start(4, dtype=DOUBLE)[:1].repeat(3, 1)
    together = solver.step(state, nu(0.05, 0.1, 0.2))
    for row, viscosity in enumerate((0.05, 0.1, 0.2)):
        torch.testing.assert_close(together[row], solver.step(state[:1], nu(viscosity))[0], rtol=0, atol=1e-14)
    assert float(together[0].std()) > float(together[2].std())


def test_energy_decays_and_the_mean_stays() -> None:
    solver = Burgers(points=128, substeps=2)
    state = solver.start(5, dtype=DOUBLE) + 0.2
    path = rollout(solver, state, nu(*[0.1] * 5), 60)
    energy = path.square().mean(2)
    assert bool((energy.diff(dim=0) < 0).all())
    torch.testing.assert_close(path.mean(2), path[:1].mean(2).expand(61, 5), rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", [2, 4])
def test_float32_follows_float64(order: int) -> None:
    solver = Burgers(order=order, dt=0.005)
    state = solver.start(6, dtype=DOUBLE)
    double = solver.step(state, nu(*[0.1] * 6))
    single = solver.step(state.float(), nu(*[0.1] * 6).float())
    assert single.dtype == torch.float32
    assert float((single - double).norm() / double.norm()) < 1e-6


def test_a_state_does_not_depend_on_its_batch() -> None:
    solver, chunked = Burgers(), Burgers(max_batch=5)
    state, viscosity = solver.start(17, dtype=DOUBLE), 0.05 + 0.2 * torch.rand(17, 1, dtype=DOUBLE)
    together = solver.step(state, viscosity)
    alone = torch.cat([solver.step(state[i : i + 1], viscosity[i : i + 1]) for i in range(17)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-13)
    torch.testing.assert_close(chunked.step(state, viscosity), together, rtol=0, atol=1e-13)


def test_nan_stays_in_its_row() -> None:
    solver = Burgers()
    state, viscosity = solver.start(4), torch.full((4, 1), 0.1)
    expected = solver.step(state, viscosity)
    state[1, 3], viscosity[2] = math.nan, math.nan
    after = solver.step(state, viscosity)
    torch.testing.assert_close(after[[0, 3]], expected[[0, 3]])
    assert bool(after[1:3].isnan().all())


@pytest.mark.parametrize("dealias", [True, False])
@pytest.mark.parametrize("order", [2, 4])
def test_gradients(order: int, dealias: bool) -> None:
    solver = Burgers(points=8, dt=0.1, substeps=2, order=order, dealias=dealias)
    state = solver.start(2, dtype=DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(solver.step, (state, nu(0.1, 0.3).requires_grad_()))


def test_the_finer_solver_is_closer() -> None:
    coarse = Burgers(points=32, dt=0.1, order=2, substeps=8)
    fine = coarse.finer()
    assert (fine.points, fine.substeps, fine.order, fine.dt) == (128, 10, 4, 0.1)
    state, viscosity = fine.start(4, dtype=DOUBLE), nu(*[0.1] * 4)
    finest = coarse.finer(8, substeps=40)
    truth = downsample(finest.step(finest.start(4, dtype=DOUBLE), viscosity), 32)
    off = float((coarse.step(downsample(state, 32), viscosity) - truth).norm())
    assert float((downsample(fine.step(state, viscosity), 32) - truth).norm()) < 1e-3 * off


@settings(max_examples=30)
@given(
    points=st.integers(4, 40),
    count=st.integers(0, 5),
    order=st.sampled_from([2, 4]),
    dealias=st.booleans(),
    double=st.booleans(),
)
def test_shapes(points: int, count: int, order: int, dealias: bool, double: bool) -> None:
    dtype = torch.float64 if double else torch.float32
    solver = Burgers(points=points, dt=0.005, order=order, dealias=dealias)
    state = solver.start(max(1, count), dtype=dtype)[:count]
    after = solver.step(state, torch.full((count, 1), 0.1, dtype=dtype))
    assert after.shape == (count, points)
    assert after.dtype == dtype
    assert bool(torch.isfinite(after).all())


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dealias", [True, False])
@pytest.mark.parametrize("order", [2, 4])
def test_too_long_a_step_is_said_once_with_its_number(order: int, dealias: bool) -> None:
    solver = Burgers(points=64, length=1.0, dt=0.1, order=order, dealias=dealias)
    state, viscosity = torch.full((2, 64), 2.0), torch.full((2, 1), 0.01)
    assert solver.cfl(state) == pytest.approx(2.0 * 0.1 * 64)
    with pytest.warns(CFLWarning, match=r"max\|u\| dt / dx is 12.8, above") as caught:
        solver.step(state, viscosity)
    assert caught[0].filename == __file__
    needed = int(str(caught[0].message).partition("substeps=")[2].split()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver.step(state, viscosity)
        enough = Burgers(points=64, length=1.0, dt=0.1, order=order, dealias=dealias, substeps=needed)
        enough.step(state, viscosity)
    with pytest.warns(CFLWarning):
        Burgers(points=64, length=1.0, dt=0.1, order=order, dealias=dealias, substeps=needed - 1).step(state, viscosity)


@pytest.mark.filterwarnings("ignore::zotoolkit.errors.CFLWarning")
@pytest.mark.parametrize("dealias", [True, False])
@pytest.mark.parametrize(
    ("order", "share", "least", "most"), [(2, 0.99, 0.0, 2.5), (4, 0.99, 0.0, 1.01), (4, 1.1, 5, 1e9)]
)
def test_what_the_limit_tells_apart(order: int, share: float, least: float, most: float, dealias: bool) -> None:
    """A ripple on a fast stream keeps its size below the limit (order 2: grows a little) and explodes above."""
    solver = Burgers(points=64, length=64.0, dt=1.0, order=order, dealias=dealias)
    noise = torch.randn(4, 64, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    stream = share * solver.cfl_limit
    after = rollout(solver, stream + 1e-9 * noise, nu(*[1e-9] * 4), 100 if share < 1 else 20)[-1]
    assert least < float((after - stream).norm() / (1e-9 * noise).norm()) < most


@pytest.mark.parametrize("viscosity", [0.0, -0.1])
def test_viscosity_must_be_positive(viscosity: float) -> None:
    solver = Burgers()
    with pytest.raises(InvalidState, match=rf"viscosity must be above 0, got {viscosity:g} in row 1"):
        solver.step(solver.start(2, dtype=DOUBLE), nu(0.1, viscosity))
    with pytest.raises(InvalidState, match="params of shape"):
        solver.step(solver.start(2))
    assert solver.state_steps == 0


@pytest.mark.parametrize(
    "bad",
    [{"length": 0.0}, {"points": 2}, {"dt": math.inf}, {"substeps": 0}, {"order": 1}, {"order": 3}, {"max_batch": 0}],
)
def test_settings_out_of_range(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        Burgers(**bad)
