"""Figures of roll-outs: which split, which steps, what a blow-up counts as."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from problems.pde import Measures
from problems.pde.simulators import Burgers
from problems.pde.simulators.wake.staggered import face_mask
from tests.problems.pde import small
from zotoolkit.errors import InvalidSetting

pytestmark = pytest.mark.filterwarnings("ignore::zotoolkit.errors.CFLWarning")


def test_mae_is_averaged_over_the_first_steps() -> None:
    objective = small.burgers(measures=Measures(steps=(2, 5)))
    x0, _ = objective.reset(seed=0)
    split = objective.references.test
    path = objective.corrected(x0, split, 5)
    apart = (path - split.states[:, :6].movedim(1, 0)).abs().mean((1, 2))
    figures = objective.final_metrics(x0)
    assert figures["test_mae_2"] == pytest.approx(float(apart[1:3].mean()))
    assert figures["test_mae_5"] == pytest.approx(float(apart[1:].mean()))
    assert figures["of_uncorrected_5"] == pytest.approx(figures["test_mae_5"] / figures["uncorrected_mae_5"])


def test_relative_l2_is_of_one_step() -> None:
    objective = small.burgers(measures=Measures(steps=(3,), figure="relative_l2", validation_steps=4))
    x0, _ = objective.reset(seed=0)
    split = objective.references.test
    path, true = objective.corrected(x0, split, 3)[3], split.states[:, 3]
    each = (path - true).norm(dim=1) / true.norm(dim=1)
    figures = objective.final_metrics(x0)
    assert figures["test_relative_l2_3"] == pytest.approx(float(each.mean()))
    assert figures["test_median_relative_l2_3"] == pytest.approx(float(each.max()))  # of two, the higher
    assert list(objective.metrics(x0)) == ["validation_relative_l2_4"]


def test_training_is_judged_by_the_validation_split() -> None:
    objective = small.burgers(measures=Measures(steps=(2,)))
    x0, _ = objective.reset(seed=0)
    split = objective.references.validation
    apart = (objective.corrected(x0, split, 2) - split.states[:, :3].movedim(1, 0)).abs().mean((1, 2))
    assert objective.metrics(x0) == {"validation_mae_2": pytest.approx(float(apart[1:].mean()))}


def test_only_real_faces_count() -> None:
    objective = small.wake(measures=Measures(steps=(2,), baseline=False))
    x0, _ = objective.reset(seed=0)
    split = objective.references.test
    apart = (objective.corrected(x0, split, 2) - split.states[:, :3].movedim(1, 0)).abs()
    wanted = apart[1:][..., face_mask(split.fields)].mean()
    assert objective.final_metrics(x0)["test_mae_2"] == pytest.approx(float(wanted), rel=1e-6)


def test_a_blow_up_is_infinite_and_counted() -> None:
    objective = small.burgers(measures=Measures(steps=(2,)))
    x0, _ = objective.reset(seed=0)
    figures = objective.final_metrics(1e200 * torch.ones_like(x0))
    assert math.isinf(figures["test_mae_2"])
    assert figures["test_blown_up"] == 2.0
    assert figures["uncorrected_blown_up"] == 0.0


def test_measuring_is_no_query() -> None:
    objective = small.burgers(simulator=Burgers(points=small.POINTS, dt=small.DT))
    x0, _ = objective.reset(seed=0)
    objective.metrics(x0)
    objective.final_metrics(x0)
    assert (objective.queries, objective.state_steps, objective.costs_spent) == (0, 0, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": ()}, "steps must be a tuple"),
        ({"steps": [1]}, "steps must be a tuple"),
        ({"steps": (0,)}, "steps must be"),
        ({"figure": "rmse"}, "figure must be"),
        ({"validation_steps": 0}, "validation_steps must be"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Measures(**settings)


def test_valid_time_is_the_mean_over_all_frames_of_the_test_split() -> None:
    objective = small.burgers(measures=Measures(steps=(2,), valid_time=0.05))
    x0, _ = objective.reset(seed=0)
    split = objective.references.test
    path, true = objective.corrected(x0, split, 11), split.states.movedim(1, 0)
    apart = (path - true).norm(dim=2) / true.norm(dim=2)
    first = [next((step for step in range(12) if apart[step, row] > 0.05), 11) for row in range(2)]
    figures = objective.final_metrics(x0)
    assert 0 < sum(first) < 22
    assert figures["test_valid_time"] == pytest.approx(small.DT * sum(first) / 2)
    assert figures["test_mae_2"] == small.burgers(measures=Measures(steps=(2,))).final_metrics(x0)["test_mae_2"]
    assert "uncorrected_valid_time" in figures


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), "0.4", True])
def test_thresholds_of_the_valid_time(threshold: Any) -> None:
    with pytest.raises(InvalidSetting, match="valid_time must be"):
        Measures(valid_time=threshold)
