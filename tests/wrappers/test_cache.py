"""Cache, besides what all wrappers promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zotoolkit import BudgetLimit, Cache, CoordinateBatch, DenseBatch, SeededBatch, Status, TargetReached
from zotoolkit.errors import InvalidSetting


@pytest.mark.parametrize("kind", ["dense", "coordinate", "seeded"])
def test_a_repeated_batch_costs_nothing(kind: str, spy: Any, batches: Any) -> None:
    inner = spy()
    objective = Cache(inner)
    objective.reset(seed=0)
    first = objective.step(batches[kind]())
    again = objective.step(batches[kind]())
    assert torch.equal(first[0], again[0])
    assert first[0].dtype == again[0].dtype
    assert again[3]["queries"] == 0
    assert again[3]["costs"] == {"forward_equivalents": 0.0}
    assert again[3]["status"].tolist() == [Status.OK] * 5
    assert inner.asked == objective.queries == objective.hits == 5


@pytest.mark.parametrize("kind", ["dense", "coordinate", "seeded"])
def test_only_what_is_new_goes_on_and_as_the_same_kind(kind: str, spy: Any, batches: Any) -> None:
    inner = spy()
    objective = Cache(inner)
    batch = batches[kind](8)
    objective.step(batch[torch.tensor([1, 4, 6])])
    values, _, _, info = objective.step(batch)
    assert inner.seen == [(kind, 3), (kind, 5)]
    assert info["queries"] == 5
    assert torch.equal(values, inner.loss(batch.points(), 3))


def test_a_new_batch_goes_on_as_it_is(spy: Any, batches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = spy()
    passed: list[Any] = []
    step = type(inner).step
    monkeypatch.setattr(type(inner), "step", lambda self, batch: passed.append(batch) or step(self, batch))
    batch = batches["seeded"]()
    Cache(inner).step(batch)
    assert any(each is batch for each in passed)


def test_repetitions_inside_a_batch(spy: Any) -> None:
    inner = spy()
    objective = Cache(inner)
    batch = CoordinateBatch(
        base=torch.zeros(6, dtype=torch.float64),
        scale=torch.tensor([0.1, 0.0, 0.1, 0.0, 0.2], dtype=torch.float64),
        index=torch.tensor([1, 2, 1, 3, 1]),
    )
    values, _, _, info = objective.step(batch)
    assert inner.asked == info["queries"] == 3
    assert objective.hits == 2
    assert torch.equal(values, inner.loss(batch.points(), 0))


def test_a_point_is_recognised_in_another_kind_of_batch(spy: Any, batches: Any) -> None:
    inner = spy()
    objective = Cache(inner)
    objective.step(batches["coordinate"]())
    objective.step(DenseBatch.at(batches["coordinate"]().points(), 3))
    assert inner.asked == 5
    base = batches["coordinate"]().base
    scale = torch.zeros(1, dtype=torch.float64)
    objective.step(DenseBatch.at(base[None], 3))
    objective.step(SeededBatch(base=base, scale=scale, seed=torch.tensor([9]), context=3))
    assert inner.asked == 6


def test_seeded_queries_differ_by_all_that_makes_them(spy: Any) -> None:
    inner = spy()
    objective = Cache(inner)

    def step(**changes: Any) -> int:
        fields: dict[str, Any] = {
            "base": torch.zeros(6, dtype=torch.float64),
            "scale": torch.ones(1, dtype=torch.float64),
            "seed": torch.tensor([1]),
            "law": "normal",
        }
        return objective.step(SeededBatch(**(fields | changes)))[3]["queries"]

    different: list[dict[str, Any]] = [
        {},
        {"seed": torch.tensor([2])},
        {"law": "rademacher"},
        {"scale": -torch.ones(1, dtype=torch.float64)},
        {"base": torch.ones(6, dtype=torch.float64)},
        {"alive": torch.tensor([0, 1])},
        {"alive": torch.tensor([1, 0])},
        {"alive": torch.tensor([0, 2])},
        {"context": 1},
    ]
    assert [step(**changes) for changes in different] == [1] * len(different)
    assert [step(**changes) for changes in different] == [0] * len(different)


def test_contexts_are_apart_unless_ignored(spy: Any, batches: Any) -> None:
    for ignore, asked in ((False, 10), (True, 5)):
        inner = spy()
        objective = Cache(inner, ignore_context=ignore)
        objective.step(batches["coordinate"](context=1))
        objective.step(batches["coordinate"](context=2))
        assert inner.asked == asked


def test_failed_and_skipped_queries_are_asked_again(spy: Any, batches: Any) -> None:
    inner = spy(fails=lambda attempt: attempt == 1)
    objective = Cache(inner)
    with objective.allowing(3):
        info = objective.step(batches["coordinate"]())[3]
    assert info["status"].tolist() == [0, Status.FAILED, 0, Status.SKIPPED, Status.SKIPPED]
    info = objective.step(batches["coordinate"]())[3]
    assert info["status"].tolist() == [0] * 5
    assert info["queries"] == 3


def test_a_query_repeated_inside_a_batch_shares_its_failure(spy: Any, batches: Any) -> None:
    batch = batches["coordinate"]()[torch.tensor([0, 1, 1, 2])]
    objective = Cache(spy(fails=lambda attempt: attempt == 1))
    values, _, _, info = objective.step(batch)
    assert info["status"].tolist() == [0, Status.FAILED, Status.FAILED, 0]
    assert set(info["errors"]) == {1, 2}
    assert values.isnan().tolist() == [False, True, True, False]
    assert objective.hits == 0
    objective = Cache(spy())
    with objective.allowing(1):
        info = objective.step(batch)[3]
    assert info["status"].tolist() == [0, Status.SKIPPED, Status.SKIPPED, Status.SKIPPED]


def test_non_finite_answers_are_answers(spy: Any, batches: Any) -> None:
    inner = spy(blank=lambda attempt: attempt == 1)
    objective = Cache(inner)
    for _ in range(2):
        values, _, _, info = objective.step(batches["coordinate"]())
        assert info["status"].tolist() == [0, Status.NON_FINITE, 0, 0, 0]
        assert values.isnan().tolist() == [False, True, False, False, False]
    assert inner.asked == 5


def test_the_least_recently_asked_goes_first(spy: Any, batches: Any) -> None:
    inner = spy()
    objective = Cache(inner, 2)
    batch = batches["dense"](3)
    for row in (0, 1, 0, 2, 0, 1):  # 2 drives out 1
        objective.step(batch[row : row + 1])
    assert inner.asked == 4


def test_a_batch_larger_than_the_cache(spy: Any, batches: Any) -> None:
    inner = spy()
    objective = Cache(inner, 3)
    batch = batches["dense"](8)
    for _ in range(2):
        assert torch.equal(objective.step(batch)[0], inner.loss(batch.points(), 3))
    assert len(objective._answers) == 3
    # What is known when the step begins is answered from memory although it is driven out in the same step.
    assert inner.asked == 13


def test_an_end_below_is_told_when_nothing_is_asked(spy: Any, batches: Any) -> None:
    objective = Cache(BudgetLimit(TargetReached(spy(), 1e9), 5))
    for _ in range(2):
        assert objective.step(batches["dense"]())[1:3] == (True, True)


def test_reset_forgets(spy: Any, batches: Any) -> None:
    inner = spy()
    objective = Cache(inner)
    objective.step(batches["dense"]())
    objective.reset()
    assert objective.hits == 0
    objective.step(batches["dense"]())
    assert inner.asked == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be an integer of at least 1, got 0"),
        ({"size": 2.5}, "size must be"),
        ({"ignore_context": 1}, "ignore_context must be True or False"),
    ],
)
def test_wrong_settings(settings: Any, message: str, spy: Any) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Cache(spy(), **settings)
