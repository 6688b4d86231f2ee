from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from problems.pde.simulators import KuramotoSivashinsky, downsample, rollout
from problems.pde.simulators.kuramoto_sivashinsky import Transform
from zotoolkit.errors import InvalidSetting, InvalidState

TRANSFORMS: tuple[Transform, ...] = ("fft", "matrix")


def chaotic(solver: KuramotoSivashinsky, count: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """States on the attractor."""
    return rollout(solver, solver.start(count, dtype=dtype), None, 40, 40)[-1]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_order_in_time(order: Literal[1, 2, 4]) -> None:
    """Against a much finer step: halving the substep divides the error by 2^order."""
    fine = KuramotoSivashinsky(22.0, 32, 1.0, substeps=2000, order=4)
    state = chaotic(KuramotoSivashinsky(22.0, 32, 1.0, substeps=20, order=4), 3)
    truth = fine.step(state)
    errors = []
    first = 16 if order < 4 else 64  # stiff waves hide order 4 as long as their substeps are long
    for substeps in (first, 2 * first, 4 * first):
        solver = KuramotoSivashinsky(22.0, 32, 1.0, substeps=substeps, order=order)
        errors.append(float((solver.step(state) - truth).norm() / truth.norm()))
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([order, order], abs=0.35)


def test_spectral_convergence_in_space() -> None:
    make = {points: KuramotoSivashinsky(22.0, points, 0.5, substeps=50, order=4) for points in (16, 32, 64, 128)}
    state = chaotic(KuramotoSivashinsky(22.0, 128, 0.5, substeps=10, order=4), 2)
    truth = make[128].step(state)
    errors = [float((make[n].step(downsample(state, n)) - downsample(truth, n)).norm()) for n in (16, 32, 64)]
    assert errors[1] < 1e-3 * errors[0]
    assert errors[2] < 1e-8


def test_against_an_independent_integrator() -> None:
    """SciPy's implicit Radau on the same equation written with NumPy."""
    points, length = 32, 22.0
    solver = KuramotoSivashinsky(length, points, 0.25, substeps=200, order=4)
    state = chaotic(KuramotoSivashinsky(length, points, 0.25, substeps=5, order=4), 1)
    k = 2 * np.pi / length * np.arange(points // 2 + 1)
    odd = 1j * np.where(np.arange(len(k)) == points // 2, 0, k)

    def rate(_: float, u: np.ndarray) -> np.ndarray:
        linear = np.fft.irfft((k**2 - k**4) * np.fft.rfft(u), n=points)
        return linear - np.fft.irfft(odd * np.fft.rfft(u**2), n=points) / 2

    found = solve_ivp(rate, (0, 0.25), state[0].numpy(), method="Radau", rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(solver.step(state)[0].numpy(), found.y[:, -1], atol=1e-7)


@pytest.mark.parametrize("dealias", [False, True])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("points", [24, 25])
def test_fft_and_matrices_are_the_same_step(points: int, order: int, dealias: bool) -> None:
    both = [
        KuramotoSivashinsky(22.0, points, 0.2, substeps=3, order=order, dealias=dealias, transform=transform)
        for transform in TRANSFORMS
    ]
    state = both[0].start(4, seed=1, dtype=torch.float64)
    torch.testing.assert_close(both[0].step(state), both[1].step(state), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("order", "substeps", "points"), [(1, 1, 48), (2, 10, 192), (4, 2, 96)])
def test_float32_follows_float64(order: int, substeps: int, points: int) -> None:
    solver = KuramotoSivashinsky(60.0, points, 0.5, substeps=substeps, order=order)
    state = chaotic(KuramotoSivashinsky(60.0, points, 0.5, substeps=4, order=4), 4)
    single, double = solver.step(state.float()), solver.step(state)
    assert single.dtype == torch.float32
    assert float((single - double).norm() / double.norm()) < 2e-6


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_state_does_not_depend_on_its_batch(transform: Transform) -> None:
    solver = KuramotoSivashinsky(transform=transform)
    state = solver.start(33, dtype=torch.float64)
    together = solver.step(state)
    alone = torch.cat([solver.step(row[None]) for row in state])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-13)
    chunked = KuramotoSivashinsky(transform=transform, max_batch=7)
    torch.testing.assert_close(chunked.step(state), together, rtol=0, atol=1e-13)
    assert chunked.state_steps == 33


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_nan_stays_in_its_row(transform: Transform) -> None:
    solver = KuramotoSivashinsky(transform=transform)
    state = solver.start(5)
    expected = solver.step(state)
    state[2, 7] = math.nan
    after = solver.step(state)
    keep = [0, 1, 3, 4]
    torch.testing.assert_close(after[keep], expected[keep])
    assert bool(after[2].isnan().all())


@pytest.mark.parametrize("dealias", [False, True])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_gradients(transform: Transform, order: int, dealias: bool) -> None:
    solver = KuramotoSivashinsky(8.0, 8, 0.3, substeps=2, order=order, dealias=dealias, transform=transform)
    state = solver.start(2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(solver.step, (state,))


def test_the_mean_is_kept_and_translations_commute() -> None:
    solver = KuramotoSivashinsky(22.0, 64, 0.5, substeps=4, order=4)
    state = chaotic(solver, 3) + 0.3
    after = solver.step(state)
    torch.testing.assert_close(after.mean(1), state.mean(1), rtol=0, atol=1e-13)
    torch.testing.assert_close(solver.step(state.roll(5, 1)), after.roll(5, 1), rtol=0, atol=1e-12)


def test_short_intervals_decay_and_long_ones_stay_bounded() -> None:
    short = KuramotoSivashinsky(6.0, 16, 0.5, order=2)
    start = short.start(3)
    assert float(rollout(short, start, None, 400, 400)[-1].abs().max()) < 1e-3 * float(start.abs().max())
    long = KuramotoSivashinsky(order=2)
    path = rollout(long, long.start(8), None, 400, 100)
    assert 2 < float(path[2:].abs().max()) < 6


def test_the_coarse_solver_alone_blows_up_and_says_so_by_nan() -> None:
    """Explicit order 1 with dt 0.5 feeds the waves that advection moves; over some tens of steps that is fatal."""
    coarse = KuramotoSivashinsky()
    state = downsample(chaotic(KuramotoSivashinsky(order=4), 8), 48)
    path = rollout(coarse, state, None, 400, 20)
    assert bool(torch.isfinite(path[1]).all())
    assert bool(path[-1].isnan().any())
    assert coarse.state_steps < 8 * 400


def test_the_coarse_solver_errs_where_the_fine_one_does_not() -> None:
    """What a corrector is for: against the reference the coarse step is off by some per cent."""
    coarse = KuramotoSivashinsky()
    fine = coarse.finer()
    assert (fine.points, fine.substeps, fine.order, fine.dt) == (192, 10, 2, 0.5)
    finest = KuramotoSivashinsky(60.0, 192, 0.5, substeps=100, order=4)
    state = chaotic(fine, 4)

    def off(solver: KuramotoSivashinsky) -> float:
        truth = downsample(finest.step(state), 48)
        return float((downsample(solver.step(downsample(state, solver.points)), 48) - truth).norm() / truth.norm())

    assert 0.01 < off(coarse) < 0.2
    assert off(fine) < 1e-2 * off(coarse)


@settings(max_examples=30)
@given(
    points=st.integers(4, 40),
    count=st.integers(0, 5),
    order=st.sampled_from([1, 2, 4]),
    dealias=st.booleans(),
    transform=st.sampled_from(TRANSFORMS),
    double=st.booleans(),
)
def test_shapes(points: int, count: int, order: int, dealias: bool, transform: Transform, double: bool) -> None:
    dtype = torch.float64 if double else torch.float32
    solver = KuramotoSivashinsky(15.0, points, 0.1, order=order, dealias=dealias, transform=transform)
    state = solver.start(max(1, count), dtype=dtype)[:count]
    after = solver.step(state)
    assert after.shape == (count, points)
    assert after.dtype == dtype
    assert bool(torch.isfinite(after).all())


@pytest.mark.parametrize(
    "given_settings",
    [
        {"length": 0.0},
        {"length": math.inf},
        {"points": 3},
        {"points": 48.0},
        {"dt": -0.5},
        {"dt": math.nan},
        {"substeps": 0},
        {"order": 3},
        {"order": "1"},
        {"transform": "dct"},
        {"max_batch": 0},
    ],
)
def test_settings_out_of_range(given_settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        KuramotoSivashinsky(**given_settings)


def test_other_bad_input() -> None:
    solver = KuramotoSivashinsky()
    with pytest.raises(InvalidState, match=r"takes \(B, 48\) states"):
        solver.step(torch.zeros(1, 192))
    with pytest.raises(InvalidSetting, match="factor"):
        solver.finer(0)
    with pytest.raises(InvalidSetting, match="count"):
        solver.start(0)
    with pytest.raises(InvalidSetting, match="seed"):
        solver.start(1, seed=-1)


def test_auto_takes_the_faster() -> None:
    assert KuramotoSivashinsky().transform == "matrix"
    assert KuramotoSivashinsky().finer().transform == "fft"
