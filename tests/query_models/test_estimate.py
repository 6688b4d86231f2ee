"""What a run will cost is known before it begins."""

from __future__ import annotations

import pytest

from tests.query_models.models import Scripted
from zotoolkit.errors import BudgetSpent, InvalidSetting
from zotoolkit.query_models import QueryBudget, QueryEstimate, estimate_queries


def test_the_sums() -> None:
    estimate = estimate_queries(
        steps=800,
        batch_size=64,
        queries_per_image=32,
        clean_images=1438,
        certified_images=200,
        n0=100,
        n=1000,
        drift_probes=1,
    )
    assert estimate == QueryEstimate(training=800 * 64 * 32 + 1438, certification=200 * 1100, drift=32)
    assert estimate.total == 1_638_400 + 1438 + 220_000 + 32
    assert str(QueryEstimate()) == "0 images"


def test_failures_are_sent_again() -> None:
    assert estimate_queries(certified_images=1, n0=0, n=90, failure_rate=0.1).certification == 100


def test_a_budget_made_of_it_covers_it_and_not_one_image_more() -> None:
    estimate = QueryEstimate(training=100, certification=50, drift=32)
    budget = estimate.budget()
    assert budget.reserved == {"certification": 50, "drift": 32}
    estimate.check(budget)
    budget.take(1, "training")
    with pytest.raises(BudgetSpent, match="the budget is 1 images short of 182 images"):
        estimate.check(budget)
    assert estimate.budget(spare=0.1).total == 110 + 55 + 36


def test_a_shortfall_is_named_and_nothing_is_spent() -> None:
    budget = QueryBudget(1000, reserved={"certification": 100})
    with pytest.raises(BudgetSpent, match=r"200 images short of 1,200 images .*: 900 are left for training; 1,000 are"):
        QueryEstimate(training=900, certification=300).check(budget)
    with pytest.raises(BudgetSpent, match="100 images short"):  # the reserve is no help for training
        QueryEstimate(training=1000).check(budget)
    assert budget.spent == {}


def test_models_are_checked_by_their_budget() -> None:
    QueryEstimate(training=10**12).check(None)
    QueryEstimate(training=10**12).check(Scripted())
    with pytest.raises(BudgetSpent, match="1 images short"):
        QueryEstimate(training=11).check(Scripted(budget=QueryBudget(10)))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"steps": -1}, "steps must be an integer of at least 0"),
        ({"n": 2.0}, "n must be an integer"),
        ({"failure_rate": 1.0}, r"failure_rate must be a number in \[0, 1\)"),
        ({"failure_rate": float("nan")}, "failure_rate must be"),
    ],
)
def test_bad_numbers_are_refused(setting: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        estimate_queries(**setting)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="spare must be"):
        QueryEstimate().budget(spare=-1)
