"""The registered problems, small: they are made, trained by their own default, and refuse what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import zotoolkit
from problems.pde import CorrectSimulator, correct_wake_flow
from problems.pde.correctors import MarsMoon
from zotoolkit.errors import InvalidSetting, ReferencesMismatch

SMALL = {"resolution": 16, "factor": 2, "spin_up": 3, "frames": 12, "unroll": 2}


@pytest.mark.parametrize(
    ("corrector", "parameters"), [("small", 278), ("medium", 8_434), ("mercury", 56_898), ("mars_moon", 260_354)]
)
def test_the_wake_has_correctors_of_all_sizes(corrector: str, parameters: int) -> None:
    objective = zotoolkit.make("PDE/WakeFlow-v0", corrector=corrector, **SMALL)
    x0, _ = objective.reset(seed=0)
    assert objective.dim == parameters
    values, *_ = objective.step(zotoolkit.DenseBatch.at(x0[None]))
    assert values.isfinite().all()


def test_a_run_by_id_takes_the_familys_solver() -> None:
    spec = zotoolkit.spec("PDE/WakeFlow-v0")
    assert (spec.solver, spec.budget) == ("PDE/ZO-SOL-v0", 300 * 279 + 1)
    objective = zotoolkit.make("PDE/WakeFlow-v0", **SMALL)
    result = zotoolkit.minimize(objective, zotoolkit.make_solver(str(spec.solver)), budget=3 * 279 + 1, progress=False)
    assert result.queries == 3 * 279
    assert set(result.costs) == {"forward_equivalents", "state_steps"}
    assert "of_uncorrected_11" in result.metrics


def test_a_network_of_ones_own() -> None:
    objective = correct_wake_flow(corrector=lambda: MarsMoon(width=2, blocks=1), **SMALL)  # type: ignore[arg-type]
    assert objective.dim < 1_000


@pytest.mark.parametrize("id", ["PDE/KuramotoSivashinsky-v0", "PDE/Burgers-v0"])
def test_lines_in_both_precisions(id: str) -> None:
    losses = []
    for dtype in ("float32", "float64"):
        objective = zotoolkit.make(id, dtype=dtype)
        x0, _ = objective.reset(seed=0)
        assert isinstance(objective.unwrapped, CorrectSimulator)
        assert x0.dtype == getattr(torch, dtype)
        assert objective.dim == 89
        losses.append(float(objective.step(zotoolkit.DenseBatch.at(torch.zeros_like(x0)[None]))[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"corrector": "large"}, InvalidSetting, "corrector must be"),
        ({"corrector": nn.Linear(1, 1)}, InvalidSetting, "corrector must be"),
        ({"resolution": 30.5}, InvalidSetting, "resolution"),
        ({"factor": 0}, InvalidSetting, "factor"),
        ({"unroll": 30}, InvalidSetting, "frames"),
        ({"frames": 1}, InvalidSetting, "frames"),
        ({"state_step_budget": -1}, InvalidSetting, "state_step_budget"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        zotoolkit.make("PDE/WakeFlow-v0", **{**SMALL, **settings})


def test_references_of_another_grid_are_told() -> None:
    objective = correct_wake_flow(**SMALL)  # type: ignore[arg-type]
    other = zotoolkit.make("PDE/KuramotoSivashinsky-v0").unwrapped
    assert isinstance(other, CorrectSimulator)
    with pytest.raises(ReferencesMismatch):
        CorrectSimulator(other.simulator, objective.references, MarsMoon)
