"""TargetReached, besides what all wrappers promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from zotoolkit import BudgetLimit, DenseBatch, TargetReached, from_callable
from zotoolkit.errors import CheckpointMismatch, InvalidSetting


def at(*values: float) -> DenseBatch:
    return DenseBatch.at(torch.tensor(values, dtype=torch.float64)[:, None])


def first(x: Any) -> float:
    if x[0] > 100:
        raise ValueError("too far")
    return float(x[0])


def test_the_target_itself_counts_and_stays_reached() -> None:
    objective = TargetReached(from_callable(first, dim=1), 0.5)
    objective.reset(seed=0)
    assert [objective.step(at(value))[1] for value in (1.0, 0.5, 1.0)] == [False, True, True]
    objective.reset()
    assert not objective.reached
    assert not objective.step(at(0.6))[1]


def test_one_query_of_a_batch_is_enough() -> None:
    objective = TargetReached(from_callable(first, dim=1), 0.5)
    assert objective.step(at(3.0, 0.1, 2.0))[1]


@pytest.mark.parametrize("value", [101.0, -math.inf, math.nan])
def test_failed_and_non_finite_answers_do_not_count(value: float) -> None:
    objective = TargetReached(from_callable(first, dim=1), 0.5)
    assert not objective.step(at(value))[1]


def test_skipped_queries_do_not_count() -> None:
    objective = TargetReached(BudgetLimit(from_callable(first, dim=1), 1), 0.5)
    assert objective.step(at(3.0, 0.1))[1:3] == (False, True)


@pytest.mark.parametrize("target", [math.nan, math.inf, -math.inf, None, "low", True])
def test_a_wrong_target(target: Any) -> None:
    with pytest.raises(InvalidSetting, match="target must be a finite number, got"):
        TargetReached(from_callable(first, dim=1), target)


def test_a_checkpoint_of_a_wrapped_run_is_not_resumed_without_the_wrapper() -> None:
    objective = from_callable(lambda x: 0.0, dim=2)
    state = TargetReached(objective, target=1.0).state_dict()
    with pytest.raises(CheckpointMismatch, match="has TargetReached where this run has the bare objective"):
        objective.load_state_dict(state)
