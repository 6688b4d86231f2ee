"""The registered problems in two dimensions, small: made, trained by their own default, measured, drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import zotoolkit
from problems.pde import CorrectSimulator, correct_forced_burgers, correct_smoke
from zotoolkit.errors import InvalidSetting

SMALL: dict[str, Any] = {"resolution": 16, "factor": 2, "frames": 12, "unroll": 3, "spin_up": 2}
IDS = ("PDE/ForcedBurgers-v0", "PDE/Smoke-v0")


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize(("corrector", "parameters"), [("small", 332), ("medium", 8_834)])
def test_correctors_of_two_sizes(id: str, corrector: str, parameters: int) -> None:
    objective = zotoolkit.make(id, corrector=corrector, **SMALL)
    x0, _ = objective.reset(seed=0)
    assert objective.dim == parameters
    values, *_ = objective.step(zotoolkit.DenseBatch.at(x0[None]))
    assert values.isfinite().all()


@pytest.mark.parametrize("id", IDS)
def test_a_run_by_id_takes_the_familys_solver(id: str) -> None:
    spec = zotoolkit.spec(id)
    assert (spec.solver, spec.budget) == ("PDE/ZO-SOL-v0", 300 * 333 + 1)
    objective = zotoolkit.make(id, **SMALL)
    result = zotoolkit.minimize(objective, zotoolkit.make_solver(str(spec.solver)), budget=2 * 333 + 1, progress=False)
    assert result.queries == 2 * 333
    assert "of_uncorrected_10" in result.metrics


@pytest.mark.parametrize(("make", "spin_up", "steps"), [(correct_forced_burgers, 0, 10), (correct_smoke, 20, 30)])
def test_training_lowers_the_error_on_test_data(make: Any, spin_up: int, steps: int) -> None:
    objective: CorrectSimulator = make(**{**SMALL, "frames": 31, "spin_up": spin_up, "unroll": 8, "windows": 4})
    solver = zotoolkit.make_solver("PDE/FO-SOL-v0", iterations=40)
    result = zotoolkit.minimize(objective, solver, budget=1_000, progress=False)
    assert result.metrics[f"of_uncorrected_{steps}"] < 0.97


@pytest.mark.parametrize("make", [correct_forced_burgers, correct_smoke])
def test_fast_answers_are_those_at_the_points(make: Any) -> None:
    objective: CorrectSimulator = make(**SMALL)
    x0, _ = objective.reset(seed=0)
    batch = zotoolkit.CoordinateBatch(base=x0, scale=torch.full((9,), 1e-2), index=torch.arange(0, 332, 37))
    fast = objective.evaluate_coordinates(batch)
    torch.testing.assert_close(fast, objective.evaluate(batch.points(), 0), rtol=1e-5, atol=0)


def test_the_time_is_never_corrected_and_never_measured() -> None:
    objective = correct_forced_burgers(**SMALL)
    x0, _ = objective.reset(seed=0)
    test = objective.references.test
    path = objective.corrected(x0 + 0.1, test, 11)
    assert torch.equal(path[:, :, 2], objective.corrected(None, test, 11)[:, :, 2])
    errors = objective.measures.errors(path, objective.references, test)
    shifted = path.clone()
    shifted[:, :, 2] += 100
    assert torch.equal(errors, objective.measures.errors(shifted, objective.references, test))


@pytest.mark.parametrize("make", [correct_forced_burgers, correct_smoke])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corrector": "large"}, "corrector must be"),
        ({"corrector": nn.Linear(1, 1)}, "corrector must be"),
        ({"resolution": 2}, "points|resolution"),
        ({"factor": 0}, "factor"),
        ({"frames": 1}, "frames"),
        ({"unroll": 30}, "frames"),
        ({"spin_up": -1}, "spin_up"),
        ({"windows": 0}, "windows"),
        ({"state_step_budget": -1}, "state_step_budget"),
    ],
)
def test_settings_that_cannot_be(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        make(**{**SMALL, **settings})


@pytest.mark.parametrize("id", IDS)
def test_errors_are_drawn(id: str) -> None:
    pytest.importorskip("matplotlib")
    objective = zotoolkit.make(id, **SMALL)
    x0, _ = objective.reset(seed=0)
    drawings = objective.pictures({"start": {0: x0}})
    assert {drawing.name for drawing in drawings} == {"error-over-time", "relative-error-over-time"}
