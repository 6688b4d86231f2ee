"""The interface of every query model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.query_models.models import CLASSES, Scripted, numbered
from zotoolkit.checkpoint import load_state, save_state
from zotoolkit.errors import CheckpointMismatch, InvalidSetting
from zotoolkit.query_models import InputSpec, QueryBudget, RateLimit


def test_what_is_sent_is_clipped_and_rounded_if_the_spec_says_so() -> None:
    seen = []
    model = Scripted(lambda call, images: seen.append(images.clone()), input=InputSpec((2,), levels=3))
    model.ask(torch.tensor([[0.3, 9.0], [-1.0, 0.2]]))
    assert seen[0].tolist() == [[0.5, 1.0], [0.0, 0.0]]
    noisy = Scripted(lambda call, images: seen.append(images.clone()))
    noisy.ask(torch.tensor([[3.5, -9.0]]))
    assert seen[1].tolist() == [[3.5, -9.0]]


def test_purposes_nest() -> None:
    model = Scripted()
    with model.spending("training"):
        with model.spending("certification") as same:
            assert same is model
            model.ask(numbered(2))
        model.ask(numbered(3))
        with pytest.raises(InvalidSetting, match="a purpose must be a word"), model.spending(" "):
            pass
    model.ask(numbered(1))
    assert {name: model.ledger.of(name).sent for name in model.ledger.purposes} == {
        "certification": 2,
        "training": 3,
        "general": 1,
    }


def test_state_goes_through_a_checkpoint(tmp_path: Any) -> None:
    model = Scripted(budget=QueryBudget(10, {"certification": 5}))
    with model.spending("training"):
        model.ask(numbered(3))
    save_state(tmp_path, {"model": model.state_dict()}, {})
    resumed = Scripted(budget=QueryBudget(10, {"certification": 5}))
    resumed.load_state_dict(load_state(tmp_path)[0]["model"])
    assert resumed.ledger.of("training").sent == 3
    assert resumed.budget is not None
    assert resumed.budget.remaining("training") == 2


def test_a_budget_cannot_get_lost_between_runs() -> None:
    state = Scripted(budget=QueryBudget(10)).state_dict()
    with pytest.raises(CheckpointMismatch, match="made under a budget; resume with one"):
        Scripted().load_state_dict(state)
    with pytest.raises(CheckpointMismatch, match="is no state of a QueryModel"):
        Scripted().load_state_dict({"ledger": {}})
    Scripted(budget=QueryBudget(10)).load_state_dict(Scripted().state_dict())


def test_a_budget_may_be_shared() -> None:
    budget = QueryBudget(10)
    first, second = Scripted(budget=budget), Scripted(budget=budget)
    first.ask(numbered(4))
    second.ask(numbered(6))
    assert budget.remaining() == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"access": "scores"}, "access must be one of 'logits', 'proba', 'label', got 'scores'"),
        ({"classes": 1}, "classes must be an integer of at least 2"),
        ({"input": ()}, "shape must be that of one image"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"budget": 100}, "budget must be a QueryBudget or None, got 100"),
        ({"retry": 3}, "retry must be a RetryPolicy or None"),
        ({"rate": 3}, "rate must be a RateLimit or None"),
        ({"concurrency": 0}, "concurrency must be an integer of at least 1"),
        ({"patience": 0}, "patience must be an integer of at least 1"),
        ({"tolerance": -1}, "tolerance must be a finite number of at least 0"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        Scripted(**setting)


def test_it_can_be_used_again_after_it_was_closed() -> None:
    model = Scripted(concurrency=2, batch_size=1, rate=RateLimit(images=1e9))
    with model:
        model.ask(numbered(4))
    with model:
        assert model.predict(numbered(4)).tolist() == [0, 1, 2, 3]
    assert repr(model) == f"<Scripted 'Scripted': label, {CLASSES} classes, (2,)>"
