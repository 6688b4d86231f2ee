"""A budget is kept to, and reserves to their purpose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zotoolkit.errors import BudgetSpent, CheckpointMismatch, InvalidSetting
from zotoolkit.query_models import QueryBudget

PURPOSES = ("training", "certification", "drift", "general")
purposes = st.sampled_from(PURPOSES)


@given(
    st.integers(0, 50),
    st.dictionaries(purposes, st.integers(0, 20), max_size=3),
    st.lists(st.tuples(purposes, st.integers(0, 15)), max_size=20),
)
def test_whatever_is_spent_the_total_and_the_reserves_hold(
    free: int, reserved: dict[str, int], orders: list[tuple[str, int]]
) -> None:
    total = free + sum(reserved.values())
    budget = QueryBudget(total, reserved)
    spent = dict.fromkeys(PURPOSES, 0)
    for purpose, images in orders:
        left = budget.remaining(purpose)
        taken = budget.try_take(images, purpose)
        assert taken == (images <= left)
        spent[purpose] += images * taken
        assert {name: count for name, count in spent.items() if count} == budget.spent
        assert sum(spent.values()) <= total
        for name, count in reserved.items():  # nobody else can have touched it
            assert budget.remaining(name) >= count - spent[name]
        assert budget.shortfall({name: budget.remaining(name) for name in PURPOSES[:1]}) == 0
        assert budget.shortfall({purpose: budget.remaining(purpose) + 3}) == 3


def test_what_is_refused_says_why() -> None:
    budget = QueryBudget(100, reserved={"certification": 60, "drift": 10})
    budget.take(25, "training")
    with pytest.raises(
        BudgetSpent,
        match=r"6 images were to be sent for training, but of the budget of 100 only 5 are left for that, "
        r"60 more are reserved for certification, 10 more are reserved for drift; none was sent",
    ):
        budget.take(6, "training")
    assert budget.spent == {"training": 25}
    budget.give_back(5, "training")
    budget.take(10, "training")


def test_a_purpose_goes_beyond_its_reserve_into_what_is_free() -> None:
    budget = QueryBudget(10, reserved={"certification": 6})
    budget.take(8, "certification")
    assert budget.remaining("training") == 2
    assert budget.shortfall({"training": 2, "certification": 1}) == 1


def test_threads_never_overspend() -> None:
    budget = QueryBudget(1000)
    with ThreadPoolExecutor(4) as pool:
        taken = sum(pool.map(lambda _: budget.try_take(7), range(400)))
    assert taken == 1000 // 7
    assert budget.remaining() == 1000 - 7 * taken


def test_state_survives_and_new_limits_hold() -> None:
    budget = QueryBudget(10, {"certification": 5})
    budget.take(3, "training")
    larger = QueryBudget(20, {"certification": 5})
    larger.load_state_dict(budget.state_dict())
    assert larger.remaining("training") == 12
    smaller = QueryBudget(2)
    smaller.load_state_dict(budget.state_dict())
    assert smaller.remaining("training") == 0
    assert "3 of 2 spent" in repr(smaller)
    for state in ({}, None, {"spent": {"training": -1}}, {"spent": {"": 1}}, {"spent": [1]}):
        with pytest.raises(CheckpointMismatch, match="is no state of a QueryBudget"):
            smaller.load_state_dict(state)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1,), "total must be an integer of at least 0"),
        ((1.5,), "total must be an integer"),
        ((10, {"certification": 11}), "11 images are reserved of a total of 10; raise the total"),
        ((10, {"certification": -1}), r"reserved\['certification'\] must be an integer"),
        ((10, {"": 1}), "a purpose must be a word"),
        ((10, {3: 1}), "a purpose must be a word"),
        ((10, [("training", 1)]), "reserved must be a dict"),
    ],
)
def test_bad_budgets_are_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        QueryBudget(*arguments)
