"""PhiFlow's step against the built-in one, on the same states."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from problems.pde.simulators.wake import WakeFlow, divergence, spin_up
from problems.pde.simulators.wake.phiflow import PhiFlowWake
from zotoolkit.errors import InvalidSetting, InvalidState, MissingExtra

needs_phiflow = pytest.mark.skipif(
    importlib.util.find_spec("phi") is None, reason="PhiFlow is not installed: pip install 'zotoolkit[phiflow]'"
)


@needs_phiflow
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_one_step_agrees(dtype: torch.dtype, tol: float) -> None:
    ours, theirs = WakeFlow(32, mask="soft"), PhiFlowWake(32, tol=tol, compiled=False)
    state, params = spin_up(ours, [1e5, 5e6], 20, poke=2.0, dtype=dtype)
    wanted, found = theirs.step(state, params), ours.step(state, params)
    assert wanted.dtype == dtype
    moved = float((found - state).norm() / found.norm())
    apart = float((found - wanted).norm() / wanted.norm())
    assert apart < 5e-5 < moved / 20
    hard = WakeFlow(32).step(state, params)
    assert float((hard - wanted).norm() / wanted.norm()) > 20 * apart
    inside = (ours.projection.open == 0)[0, :-1, :-1] & (ours.projection.open == 0)[1, :-1, :-1]
    assert float(divergence(found)[:, ~inside].abs().max()) < 1e-5
    assert theirs.accuracy(dtype) == tol
    assert theirs.state_steps == 2


@needs_phiflow
def test_what_phiflow_is_not_asked() -> None:
    with pytest.raises(InvalidSetting, match="tol"):
        PhiFlowWake(16, tol=0.0)
    with pytest.raises(InvalidSetting, match="max_iterations"):
        PhiFlowWake(16, max_iterations=0)
    with pytest.raises(InvalidState, match="above 0"):
        PhiFlowWake(16).step(WakeFlow(16).initial_state(), torch.tensor([[0.0]]))
    with pytest.raises(InvalidState, match="no gradient"):
        PhiFlowWake(16).step(WakeFlow(16).initial_state().requires_grad_(), torch.tensor([[1e5]]))


def test_without_phiflow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phi.torch.flow", None)
    with pytest.raises(MissingExtra, match=r"zotoolkit\[phiflow\]"):
        PhiFlowWake(16)
