"""BudgetLimit, besides what all wrappers promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zotoolkit import BlackBoxObjective, BudgetLimit, Cache, DenseBatch, Retry, Status, Wrapper, make_space
from zotoolkit.errors import InvalidSetting, InvalidValues


def test_a_budget_that_ends_inside_a_batch(spy: Any, batches: Any) -> None:
    objective = BudgetLimit(spy(), 7)
    objective.reset(seed=0)
    _, _, truncated, _ = objective.step(batches["seeded"](5))
    assert (truncated, objective.remaining) == (False, 2)
    batch = batches["seeded"](5, context=4)
    values, _, truncated, info = objective.step(batch)
    assert info["status"].tolist() == [Status.OK] * 2 + [Status.SKIPPED] * 3
    assert (truncated, objective.remaining, info["queries"]) == (True, 0, 2)
    assert torch.equal(values[:2], spy().loss(batch[:2].points(), 4))
    assert bool(values[2:].isnan().all())


def test_a_spent_budget_skips_everything_until_reset(spy: Any, batches: Any) -> None:
    objective = BudgetLimit(spy(), 5)
    objective.reset(seed=0)
    assert objective.step(batches["dense"](5))[2]
    _, _, truncated, info = objective.step(batches["dense"](5))
    assert truncated
    assert info["queries"] == 0
    objective.reset()
    assert objective.remaining == 5
    assert not objective.step(batches["dense"](4))[2]


def test_retries_count(spy: Any, batches: Any) -> None:
    inner = spy(fails=lambda attempt: True)
    objective = BudgetLimit(Retry(inner, 10), 8)
    objective.reset(seed=0)
    _, _, truncated, info = objective.step(batches["coordinate"](5))
    assert truncated
    assert inner.asked == info["queries"] == 8
    assert info["status"].tolist() == [Status.FAILED] * 5  # asked, so not SKIPPED


def test_cached_answers_do_not(spy: Any, batches: Any) -> None:
    objective = BudgetLimit(Cache(spy()), 6)
    objective.reset(seed=0)
    for _ in range(3):
        _, _, truncated, info = objective.step(batches["coordinate"](5))
        assert not truncated
        assert info["status"].tolist() == [Status.OK] * 5
    assert objective.remaining == 1


def test_nested_budgets_hold_both(spy: Any, batches: Any) -> None:
    inner = spy()
    objective = BudgetLimit(BudgetLimit(inner, 4), 6)
    objective.reset(seed=0)
    assert objective.step(batches["dense"](5))[2]
    assert inner.asked == 4
    assert objective.remaining == 2


def test_allowing_from_outside_is_respected(spy: Any, batches: Any) -> None:
    objective = BudgetLimit(spy(), 100)
    objective.reset(seed=0)
    with objective.allowing(3):
        _, _, truncated, info = objective.step(batches["dense"](5))
    assert (info["queries"], truncated, objective.remaining) == (3, False, 97)


def test_what_was_spent_before_a_wrapper_raised_stays_spent(spy: Any, batches: Any) -> None:
    class Breaks(Wrapper):
        def _answer(self, batch: Any) -> Any:
            super()._answer(batch)
            raise RuntimeError("the disk is full")

    objective = BudgetLimit(Breaks(spy()), 8)
    objective.reset(seed=0)
    for remaining in (3, 0, 0):
        with pytest.raises(RuntimeError, match="disk"):
            objective.step(batches["dense"](5))
        assert objective.remaining == remaining
    assert objective.unwrapped.queries == 8


def test_the_limit_is_lifted_after_an_error() -> None:
    class Wrong(BlackBoxObjective):
        def evaluate(self, x: torch.Tensor, context: int) -> torch.Tensor:
            return x

    inner = Wrong(make_space(2))
    objective = BudgetLimit(inner, 1)
    with pytest.raises(InvalidValues):
        objective.step(DenseBatch.at(torch.zeros(1, 2)))
    assert inner._allowance is None


@pytest.mark.parametrize("budget", [0, -3, 1.5, True, None, "10"])
def test_a_wrong_budget(budget: Any, spy: Any) -> None:
    with pytest.raises(InvalidSetting, match="budget must be an integer of at least 1, got"):
        BudgetLimit(spy(), budget)
