"""Retry, besides what all wrappers promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from zotoolkit import BlackBoxObjective, BudgetLimit, DenseBatch, Retry, Status, TargetReached, make_space
from zotoolkit.errors import InvalidSetting
from zotoolkit.wrappers import retry


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("kind", ["dense", "coordinate", "seeded"])
def test_only_failed_queries_are_asked_again(kind: str, spy: Any, batches: Any) -> None:
    inner = spy(fails=lambda attempt: attempt in (1, 3, 5))
    objective = Retry(inner, 3)
    objective.reset(seed=0)
    batch = batches[kind]()
    values, _, _, info = objective.step(batch)
    assert inner.seen == [(kind, 5), (kind, 2), (kind, 1)]
    assert info["status"].tolist() == [Status.OK] * 5
    assert info["errors"] == {}
    assert info["queries"] == objective.queries == 8
    assert info["costs"] == {"forward_equivalents": 8.0}
    assert torch.equal(values, spy().loss(batch.points(), 3))


def test_the_last_attempt_speaks(spy: Any, batches: Any) -> None:
    objective = Retry(spy(fails=lambda attempt: attempt in (1, 3, 5, 6)), 2)
    values, _, _, info = objective.step(batches["coordinate"]())
    assert info["status"].tolist() == [0, Status.FAILED, 0, Status.FAILED, 0]
    assert info["errors"] == {1: "attempt 5\nfailed", 3: "attempt 6\nfailed"}
    assert values.isnan().tolist() == [False, True, False, True, False]


def test_a_first_attempt_that_failed_throughout_narrows_no_dtype() -> None:
    class Flaky(BlackBoxObjective):
        """Answers in float64 to points in float32, the second time."""

        calls = 0

        def evaluate(self, x: torch.Tensor, context: int) -> torch.Tensor:
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("busy")
            return torch.full((len(x),), 1 / 3, dtype=torch.float64)

    objective = Retry(Flaky(make_space(1)), 2)
    assert objective.step(DenseBatch.at(torch.zeros(1, 1)))[0].item() == 1 / 3


@pytest.mark.parametrize("again", [False, True])
def test_non_finite_answers_are_asked_again_on_request(again: bool, spy: Any, batches: Any) -> None:
    inner = spy(blank=lambda attempt: attempt == 2)
    info = Retry(inner, 3, non_finite=again).step(batches["dense"]())[3]
    assert info["status"].tolist() == [0, 0, Status.OK if again else Status.NON_FINITE, 0, 0]
    assert inner.asked == (6 if again else 5)


def test_one_attempt_retries_nothing(spy: Any, batches: Any) -> None:
    inner = spy(fails=lambda attempt: True)
    Retry(inner, 1).step(batches["dense"]())
    assert inner.asked == 5


def test_waits_double_up_to_the_longest(spy: Any, batches: Any, naps: list[float]) -> None:
    Retry(spy(fails=lambda attempt: True), 6, wait=0.5, longest_wait=3.0).step(batches["dense"]())
    assert naps == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_no_wait_where_nothing_failed_or_none_is_wanted(spy: Any, batches: Any, naps: list[float]) -> None:
    Retry(spy(), 6, wait=0.5).step(batches["dense"]())
    Retry(spy(fails=lambda attempt: True), 2000).step(batches["dense"](1))
    assert naps == []


def test_an_end_below_ends_the_attempts(spy: Any, batches: Any, naps: list[float]) -> None:
    inner = spy(fails=lambda attempt: attempt > 0)
    _, terminated, _, _ = Retry(TargetReached(inner, 1e9), 5, wait=1.0).step(batches["dense"]())
    assert terminated
    inner = spy(fails=lambda attempt: True)
    _, _, truncated, _ = Retry(BudgetLimit(inner, 5), 5, wait=1.0).step(batches["dense"]())
    assert truncated
    assert naps == []


def test_skipped_queries_are_not_failed_ones(spy: Any, batches: Any) -> None:
    inner = spy(fails=lambda attempt: attempt == 0)
    objective = Retry(inner, 3)
    with objective.allowing(3):
        info = objective.step(batches["dense"]())[3]
    assert info["status"].tolist() == [Status.FAILED, 0, 0, Status.SKIPPED, Status.SKIPPED]
    assert info["errors"] == {0: "attempt 0\nfailed"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attempts": 0}, "attempts must be an integer of at least 1, got 0"),
        ({"attempts": 1.5}, "attempts must be"),
        ({"wait": -1}, "wait must be a finite number of seconds"),
        ({"wait": math.inf}, "wait must be"),
        ({"longest_wait": math.nan}, "longest_wait must be"),
        ({"non_finite": "yes"}, "non_finite must be True or False"),
    ],
)
def test_wrong_settings(settings: Any, message: str, spy: Any) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Retry(spy(), **settings)
