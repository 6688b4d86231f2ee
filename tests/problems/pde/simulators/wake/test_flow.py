"""The step of the wake flow: its boundaries, its symmetry, and what it promises as a simulator."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from problems.pde.simulators import rollout
from problems.pde.simulators.wake import WakeFlow, divergence, downsample
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState
from zotoolkit.seeding import torch_generator

LIMIT = {torch.float32: 1e-6, torch.float64: 1e-12}
DTYPES = tuple(LIMIT)


def _reynolds(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)[:, None]


def _states(flow: WakeFlow, count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """States that differ, some steps after different pokes and some noise."""
    params = torch.logspace(5, 6, count, dtype=dtype)[:, None]
    state = flow.initial_state(count, poke=torch.linspace(0.5, 2, count), dtype=dtype)
    noise = torch.randn(state.shape, generator=torch_generator(0), dtype=torch.float64).to(dtype)
    return rollout(flow, state + 0.1 * noise, params, 5)[-1], params


def _mirrored(state: Tensor) -> Tensor:
    """The state as a mirror along the flow shows it."""
    mirrored = torch.zeros_like(state)
    mirrored[:, 0, :, :-1] = state[:, 0, :, :-1].flip(-1)
    mirrored[:, 1] = -state[:, 1].flip(-1)
    return mirrored


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("resolution", "steps"), [(16, 30), (32, 30), (128, 3)])
def test_every_step_is_free_of_divergence_and_stops_at_the_disc(
    resolution: int, steps: int, dtype: torch.dtype
) -> None:
    flow = WakeFlow(resolution)
    path = rollout(flow, flow.initial_state(2, dtype=dtype), _reynolds(1e5, 1e6, dtype=dtype), steps)[1:]
    assert path.dtype == dtype
    assert float(divergence(path).abs().max() / path.abs().max()) <= LIMIT[dtype]
    assert not path[:, :, flow.projection.open == 0].any()
    assert flow.state_steps == 2 * steps


@pytest.mark.parametrize("mask", ["hard", "soft"])
def test_the_mirror_image_of_a_state_steps_to_the_mirror_image(mask: str) -> None:
    flow = WakeFlow(32, mask=mask)  # pyright: ignore[reportArgumentType]
    state, params = _states(flow, 3, torch.float64)
    assert float((state - _mirrored(state)).abs().max()) > 0.1
    torch.testing.assert_close(flow.step(_mirrored(state), params), _mirrored(flow.step(state, params)))


def test_without_a_poke_the_flow_stays_symmetric() -> None:
    flow = WakeFlow(32)
    state = rollout(flow, flow.initial_state(1, poke=0.0, dtype=torch.float64), _reynolds(1e6).double(), 30)[-1]
    torch.testing.assert_close(state, _mirrored(state), rtol=0, atol=1e-12)


def test_what_stands_where_no_face_is_does_not_matter() -> None:
    flow = WakeFlow(16)
    state, params = _states(flow, 2)
    marked = state.clone()
    marked[:, 0, :, -1] = marked[:, 1, -1] = 7.0
    assert torch.equal(flow.step(marked, params), flow.step(state, params))


def test_states_do_not_see_each_other() -> None:
    flow = WakeFlow(32, chunk=4)
    state, params = _states(flow, 9, torch.float64)
    together = flow.step(state, params)
    for row in range(9):
        torch.testing.assert_close(flow.step(state[row : row + 1], params[row : row + 1])[0], together[row])
    whole = WakeFlow(32, chunk=100).step(state, params)
    torch.testing.assert_close(whole, together, rtol=0, atol=1e-13)


def test_a_state_that_is_not_finite_harms_no_other() -> None:
    flow = WakeFlow(32)
    state, params = _states(flow, 4)
    clean = flow.step(state, params)
    state[2, 0, 5, 5] = torch.nan
    params[3] = torch.inf
    after = flow.step(state, params)
    assert torch.isnan(after[2:]).all()
    torch.testing.assert_close(after[:2], clean[:2])
    assert flow.state_steps == 5 * 4 + 4 + 2


def test_a_state_that_blows_up_within_a_step_harms_no_other() -> None:
    flow = WakeFlow(32)
    state, params = _states(flow, 3)
    clean = flow.step(state, params)
    state[1] *= 1e37
    after = flow.step(flow.step(state, params), params)
    torch.testing.assert_close(after[0::2], flow.step(clean, params)[0::2])


def test_single_precision_follows_double() -> None:
    flow = WakeFlow(32)
    state, params = _states(flow, 3, torch.float64)
    exact, single = flow.step(state, params), flow.step(state.float(), params.float())
    assert float((single.double() - exact).norm() / exact.norm()) < 3e-6


def test_more_viscosity_damps_more() -> None:
    flow = WakeFlow(16)
    state = flow.initial_state(3, poke=2.0)
    after = rollout(flow, state, _reynolds(2e3, 1e4, 1e8), 3)[-1]
    sideways = after[:, 1].square().sum((1, 2))
    assert float(sideways[0]) < float(sideways[1]) < float(sideways[2])


def test_gradients() -> None:
    flow = WakeFlow(16)
    state, params = _states(flow, 1, torch.float64)
    # Away from where bilinear interpolation has a kink, almost everywhere; Reynolds numbers near 1 scale well.
    state.requires_grad_()
    inverse = (1e4 / params).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, i: flow.step(s, 1e4 / i), (state, inverse), fast_mode=True, atol=1e-4)


def test_gradients_through_several_steps_and_chunks() -> None:
    flow = WakeFlow(16, chunk=1)
    state, params = _states(flow, 2, torch.float64)
    state.requires_grad_()
    rollout(flow, state, params, 3)[-1].square().sum().backward()
    assert state.grad is not None
    step = 1e-6
    direction = torch.randn(state.shape, generator=torch_generator(1), dtype=torch.float64)
    with torch.no_grad():
        up, down = (rollout(flow, state + sign * step * direction, params, 3)[-1] for sign in (1, -1))
        difference = float((up.square().sum() - down.square().sum()) / (2 * step))
    assert float((state.grad * direction).sum()) == pytest.approx(difference, rel=1e-5)


def test_the_initial_state_is_the_papers() -> None:
    state = WakeFlow(32).initial_state(2, poke=torch.tensor([1.0, -2.0]))
    assert (state[:, 0, :, :-1] == 1).all()
    assert not state[:, 0, :, -1].any()
    assert (state[0, 1, 42:52, 14:18] == 1).all()
    assert (state[1, 1, 42:52, 14:18] == -2).all()
    assert float(state[0, 1].sum()) == 40


def test_a_fine_state_becomes_a_coarse_one() -> None:
    fine, coarse = WakeFlow(64), WakeFlow(16)
    state = fine.step(fine.initial_state(), _reynolds(1e6))
    below = downsample(state)
    assert below.shape[1:] == coarse.fields
    assert torch.isfinite(coarse.step(below, _reynolds(1e6))).all()


def test_diffusion_beyond_its_limit_warns_once_with_the_number() -> None:
    flow = WakeFlow(32)
    state = flow.initial_state()
    with pytest.warns(CFLWarning, match=r"is 0.512, above 0.25.*reynolds >= 4096"):
        flow.step(state, _reynolds(2000.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.step(state, _reynolds(2000.0))
        flow.step(state, _reynolds(4096.0))


@pytest.mark.parametrize("value", [0.0, -1e5])
def test_reynolds_numbers_without_meaning(value: float) -> None:
    flow = WakeFlow(16)
    with pytest.raises(InvalidState, match="reynolds must be above 0"):
        flow.step(flow.initial_state(2), _reynolds(1e5, value))


def test_bad_settings() -> None:
    with pytest.raises(InvalidSetting, match="resolution must be even"):
        WakeFlow(17)
    with pytest.raises(InvalidSetting, match="dt"):
        WakeFlow(16, dt=0)
    with pytest.raises(InvalidSetting, match="mask"):
        WakeFlow(16, mask="firm")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match="chunk"):
        WakeFlow(16, chunk=0)
    with pytest.raises(InvalidSetting, match="count"):
        WakeFlow(16).initial_state(0)
    with pytest.raises(InvalidState, match="poke"):
        WakeFlow(16).initial_state(2, poke=torch.ones(3))


def test_states_of_another_grid() -> None:
    with pytest.raises(InvalidState, match=r"\(B, 2, 33, 17\)"):
        WakeFlow(16).step(WakeFlow(32).initial_state(), _reynolds(1e5))
    with pytest.raises(InvalidState, match="reynolds"):
        WakeFlow(16).step(WakeFlow(16).initial_state(), None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_gpu_gives_the_same() -> None:
    flow = WakeFlow(32)
    state, params = _states(flow, 5, torch.float64)
    there = flow.step(state.cuda(), params.cuda())
    torch.testing.assert_close(there.cpu(), flow.step(state, params), rtol=0, atol=1e-11)
