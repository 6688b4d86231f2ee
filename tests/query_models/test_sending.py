"""Batches, retries and failures: nothing is lost or mixed up, and nothing is sent beyond the budget."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.query_models.models import CLASSES, FakeClock, Scripted, numbered
from zotoolkit import PartialFailure
from zotoolkit.errors import BudgetSpent, InvalidAnswers, ObjectiveFailed, ZotoolkitError
from zotoolkit.query_models import BatchFailed, QueryBudget, RetryPolicy

TRUTH = torch.arange(1000) % CLASSES
QUICK = RetryPolicy(attempts=4, wait=1, longest_wait=8, jitter=0)


def test_batches_are_full_and_in_order() -> None:
    model = Scripted(batch_size=4)
    assert torch.equal(model.predict(numbered(10)), TRUTH[:10])
    assert [len(rows) for rows in model.seen] == [4, 4, 2]
    assert [row for rows in model.seen for row in rows] == list(range(10))


@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sets(st.integers(0, 39), max_size=6),
)
def test_images_that_cannot_be_answered_cost_no_other_its_answer(
    count: int, batch_size: int, concurrency: int, attempts: int, poison: set[int]
) -> None:
    def script(call: int, images: Tensor) -> None:
        if bad := poison & set(images[:, 0].long().tolist()):
            raise ValueError(f"image {min(bad)}")

    clock = FakeClock()
    policy = RetryPolicy(attempts=attempts, give_up=1e9)
    with Scripted(
        script, batch_size=batch_size, concurrency=concurrency, retry=policy, clock=clock, patience=1000
    ) as model:
        answers = model.ask(numbered(count))
    bad = sorted(poison & set(range(count)))
    expected = TRUTH[:count].clone()
    expected[bad] = -1
    assert torch.equal(answers.labels, expected)
    assert list(answers.errors) == bad
    for row, sentence in answers.errors.items():
        assert sentence.startswith(f"ValueError: image {row}")
    assert model.ledger.answered == count - len(bad)
    assert model.ledger.failed == len(bad)
    assert model.ledger.sent == sum(map(len, model.seen))


def test_a_batch_that_fails_by_chance_is_sent_again_with_growing_waits(clock: FakeClock) -> None:
    def script(call: int, images: Tensor) -> None:
        if call < 3:
            raise BatchFailed("busy")

    model = Scripted(script, retry=QUICK, clock=clock)
    assert torch.equal(model.predict(numbered(6)), TRUTH[:6])
    assert clock.waits == [1.0, 2.0, 4.0]
    counts = model.ledger.total
    assert (counts.sent, counts.answered, counts.failed, counts.batches, counts.retried) == (24, 6, 0, 4, 3)


def test_the_other_side_may_name_the_wait(clock: FakeClock) -> None:
    def script(call: int, images: Tensor) -> None:
        if call == 0:
            raise BatchFailed("slow down", wait=30)

    model = Scripted(script, retry=QUICK, clock=clock)
    model.predict(numbered(1))
    assert sum(clock.waits) == 30


def test_a_wait_that_nobody_will_sit_out_holds_up_no_other_batch(clock: FakeClock) -> None:
    def script(call: int, images: Tensor) -> None:
        if call == 0:
            raise BatchFailed("come back tomorrow", wait=86_400)

    model = Scripted(script, retry=QUICK, clock=clock, batch_size=2)
    answers = model.ask(numbered(4))
    assert answers.labels.tolist() == [-1, -1, 2, 3]
    assert "the next would come after more than 300 s" in answers.errors[0]
    assert clock.waits == []


def test_attempts_end_by_number_time_or_hopelessness(clock: FakeClock) -> None:
    def busy(call: int, images: Tensor) -> None:
        raise BatchFailed("busy")

    model = Scripted(busy, retry=QUICK, clock=clock)
    answers = model.ask(numbered(2))
    assert answers.errors == dict.fromkeys((0, 1), "busy (4 attempts)")
    assert answers.labels.tolist() == [-1, -1]
    assert len(model.seen) == 4

    slow = Scripted(busy, retry=RetryPolicy(attempts=99, wait=10, jitter=0, give_up=25), clock=clock)
    assert slow.ask(numbered(1)).errors[0] == "busy (2 attempts; the next would come after more than 25 s)"

    def refused(call: int, images: Tensor) -> None:
        raise BatchFailed("HTTP 403", again=False)

    hopeless = Scripted(refused, retry=QUICK, clock=clock)
    assert hopeless.ask(numbered(1)).errors == {0: "HTTP 403"}
    assert len(hopeless.seen) == 1


def test_only_rows_without_an_answer_are_sent_again(clock: FakeClock) -> None:
    def script(call: int, images: Tensor) -> None:
        labels = images[:, 0].long() % CLASSES
        if call == 0:
            raise PartialFailure(labels, {1: "lost", 4: "lost", 5: "lost"})
        if call == 1:
            raise PartialFailure(labels, {2: "lost again"})

    model = Scripted(script, retry=QUICK, clock=clock)
    answers = model.ask(numbered(7))
    assert torch.equal(answers.labels, TRUTH[:7])
    assert answers.errors == {}
    assert model.seen == [list(range(7)), [1, 4, 5], [5]]
    assert model.ledger.sent == 11


def test_rows_keep_their_own_reasons() -> None:
    def script(call: int, images: Tensor) -> None:
        raise PartialFailure(torch.full((4,), 99), {0: "too dark", 1: "x", 2: "y", 3: "too bright"})

    answers = Scripted(script).ask(numbered(4))
    assert answers.errors == {0: "too dark", 1: "x", 2: "y", 3: "too bright"}


@pytest.mark.parametrize(
    ("values", "errors", "words"),
    [
        (torch.zeros(3, dtype=torch.int64), {0: "x"}, "answered 3 labels to 4 images"),
        (torch.full((4,), 9), {0: "x"}, "labels 0 to 4, got 9"),
        (torch.zeros(4, dtype=torch.int64), {4: "x"}, "names row 4 of 4 rows"),
    ],
)
def test_partial_failures_are_checked_too(values: Tensor, errors: dict[int, str], words: str) -> None:
    def script(call: int, images: Tensor) -> None:
        raise PartialFailure(values, errors)

    with pytest.raises(InvalidAnswers, match=words):
        Scripted(script).ask(numbered(4))


def test_scores_that_are_not_finite_are_asked_for_again_and_then_failed(clock: FakeClock) -> None:
    def script(call: int, images: Tensor) -> object:
        scores = torch.eye(CLASSES)[images[:, 0].long() % CLASSES]
        scores[images[:, 0] == (1 if call else 2)] = torch.nan
        scores[images[:, 0] == 3] = torch.nan
        return scores

    model = Scripted(script, access="logits", retry=QUICK, clock=clock)
    answers = model.ask(numbered(5))
    assert answers.labels.tolist() == [0, 1, 2, -1, 4]
    assert answers.scores is not None
    assert answers.scores.isnan().all(dim=1).tolist() == [False, False, False, True, False]
    assert answers.errors == {3: "Scripted answered with scores that are not finite"}
    assert [len(rows) for rows in model.seen] == [5, 2, 1, 1]
    assert torch.equal(model.scores(numbered(1)), torch.eye(CLASSES)[:1])


def test_a_broken_promise_ends_it_here_and_is_retried_where_the_way_may_be_to_blame(clock: FakeClock) -> None:
    def script(call: int, images: Tensor) -> object:
        return torch.zeros(len(images) + 1, dtype=torch.int64) if call < 2 else None

    local = Scripted(script, retry=QUICK, clock=clock)
    with pytest.raises(InvalidAnswers, match="Scripted answered 4 labels to 3 images"):
        local.ask(numbered(3))
    assert len(local.seen) == 1

    class Remote(Scripted):
        remote = True

    assert torch.equal(Remote(script, retry=QUICK, clock=clock).predict(numbered(3)), TRUTH[:3])


def test_an_endpoint_that_never_keeps_its_promise_says_so_at_once(clock: FakeClock) -> None:
    class Remote(Scripted):
        remote = True

    broken = Remote(lambda call, images: torch.zeros(0, dtype=torch.int64), retry=QUICK, clock=clock)
    with pytest.raises(
        InvalidAnswers, match=r"answered 0 labels to 3 images. It never answered otherwise \(4 attempts"
    ):
        broken.ask(numbered(3))

    later = Remote(lambda call, images: torch.zeros(0) if call else None, retry=QUICK, clock=clock)
    later.ask(numbered(3))
    assert later.ask(numbered(2)).labels.tolist() == [-1, -1]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_many_batches_in_a_row_that_come_to_nothing_end_it(concurrency: int) -> None:
    def script(call: int, images: Tensor) -> None:
        if call >= 2:
            raise BatchFailed("the server is gone", again=False)

    with Scripted(script, batch_size=2, patience=3, concurrency=concurrency) as model:
        with pytest.raises(
            ObjectiveFailed, match=r"[345] batches in a row came to nothing\. The last one: the server is gone"
        ):
            model.ask(numbered(40))
        assert 5 <= len(model.seen) <= 5 + concurrency
        assert model.ledger.sent == 2 * len(model.seen)


def test_one_answer_in_between_is_enough_to_go_on() -> None:
    def script(call: int, images: Tensor) -> None:
        if call % 3:
            raise BatchFailed("busy")

    model = Scripted(script, batch_size=2, patience=3)
    assert int((model.predict(numbered(40)) >= 0).sum()) == 14


def test_a_budget_is_checked_before_anything_is_sent() -> None:
    model = Scripted(budget=QueryBudget(10), batch_size=2)
    with pytest.raises(BudgetSpent, match="11 images were to be sent for general"):
        model.ask(numbered(11))
    assert model.seen == []
    model.ask(numbered(10))
    assert model.budget is not None
    assert model.budget.spent == {"general": 10}


def test_retries_never_go_beyond_the_budget(clock: FakeClock) -> None:
    def script(call: int, images: Tensor) -> None:
        raise BatchFailed("busy")

    budget = QueryBudget(10, reserved={"certification": 3})
    model = Scripted(script, budget=budget, retry=QUICK, clock=clock)
    with model.spending("training"):
        answers = model.ask(numbered(3))
    assert answers.errors[2] == "busy (2 attempts; the budget does not cover another)"
    assert model.ledger.sent == 6 == budget.spent["training"]
    assert budget.remaining("certification") == 4


@given(
    st.integers(1, 30),
    st.integers(1, 8),
    st.integers(0, 40),
    st.lists(st.sampled_from(["answer", "fail", "raise", "part", "large", "refuse"]), max_size=30),
)
def test_what_is_spent_is_what_was_sent(count: int, batch_size: int, spare: int, script: list[str]) -> None:
    """Whatever happens, in whatever order: the budget is kept to, and no row is lost or wrong."""

    def happen(call: int, images: Tensor) -> None:
        what = script[call] if call < len(script) else "answer"
        if what == "raise":
            raise ValueError("no")
        if what == "part":
            raise PartialFailure(images[:, 0].long() % CLASSES, {len(images) - 1: "lost"})
        if what != "answer":
            raise BatchFailed(what, again=what == "fail", too_large=what == "large")

    budget = QueryBudget(count + spare)
    model = Scripted(happen, batch_size=batch_size, retry=QUICK, clock=FakeClock(), budget=budget, patience=99)
    answers = model.ask(numbered(count))
    counts = model.ledger.total
    assert sum(budget.spent.values()) == counts.sent == sum(map(len, model.seen)) <= count + spare
    assert bool(((answers.labels == TRUTH[:count]) | answers.failed).all())
    assert list(answers.errors) == torch.nonzero(answers.failed)[:, 0].tolist()
    assert counts.answered == count - len(answers.errors)
    assert counts.failed == len(answers.errors)
    assert counts.batches == len(model.seen)


def test_halves_never_go_beyond_the_budget_either() -> None:
    def script(call: int, images: Tensor) -> None:
        if 0 in images[:, 0]:
            raise ValueError("no")

    budget = QueryBudget(13)
    answers = Scripted(script, budget=budget).ask(numbered(8))
    assert budget.remaining() <= 1
    assert "smaller batches" in answers.errors[0]
    assert answers.labels[4:].tolist() == [-1] * 4 or answers.labels[4:].tolist() == TRUTH[4:8].tolist()


def test_what_was_not_sent_is_given_back() -> None:
    def script(call: int, images: Tensor) -> object:
        return None if call < 2 else torch.zeros(7)

    budget = QueryBudget(100)
    model = Scripted(script, budget=budget, batch_size=5)
    with pytest.raises(InvalidAnswers):
        model.ask(numbered(50))
    assert budget.spent == {"general": 15}
    assert model.ledger.sent == 15


@pytest.mark.parametrize("error", [MemoryError("out"), torch.OutOfMemoryError("out")])
def test_batches_that_do_not_fit_into_memory_are_halved_for_good(error: Exception) -> None:
    def script(call: int, images: Tensor) -> None:
        if len(images) > 3:
            raise error

    model = Scripted(script, batch_size=16, budget=QueryBudget(1000))
    assert torch.equal(model.predict(numbered(40)), TRUTH[:40])
    assert model.fitting == 2
    assert [len(rows) for rows in model.seen][:4] == [16, 8, 4, 2]
    calls = len(model.seen)
    model.predict(numbered(40))
    assert len(model.seen) == calls + 20
    assert model.budget is not None
    assert model.budget.spent == {"general": model.ledger.sent}


def test_one_image_that_does_not_fit_is_an_error() -> None:
    def script(call: int, images: Tensor) -> None:
        raise MemoryError("out")

    with pytest.raises(MemoryError):
        Scripted(script).ask(numbered(4))


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_zotoolkit_raises_passes(concurrency: int) -> None:
    def script(call: int, images: Tensor) -> None:
        raise ZotoolkitError("stop")

    with Scripted(script, batch_size=2, concurrency=concurrency) as model, pytest.raises(ZotoolkitError, match="stop"):
        model.ask(numbered(20))


def test_ctrl_c_stops_all_that_is_under_way_and_counts_what_was_sent() -> None:
    """The other threads are waiting to try again when one is interrupted; none of them sends anything more."""
    waiting = threading.Barrier(3)

    def script(call: int, images: Tensor) -> None:
        waiting.wait(30)
        if images[0, 0] == 0:
            raise KeyboardInterrupt
        raise BatchFailed("busy", wait=1000)

    budget = QueryBudget(100)
    with Scripted(script, batch_size=2, concurrency=3, retry=RetryPolicy(give_up=1e6), budget=budget) as model:
        with pytest.raises(KeyboardInterrupt):
            model.ask(numbered(20))
        assert len(model.seen) == 3
        assert model.ledger.sent == 6


def test_side_by_side_means_at_once_and_no_more_than_allowed() -> None:
    together = threading.Barrier(3)
    under_way = []

    def script(call: int, images: Tensor) -> None:
        under_way.append(1)
        assert len(under_way) <= 3
        together.wait(30)  # passes only if three are here at the same time
        under_way.pop()

    with Scripted(script, batch_size=2, concurrency=3) as model:
        assert torch.equal(model.predict(numbered(18)), TRUTH[:18])


def test_the_same_calls_wait_equally_long() -> None:
    def run() -> list[float]:
        clock = FakeClock()
        script: Any = lambda call, images: None if call % 3 == 2 else (_ for _ in ()).throw(BatchFailed("busy"))  # noqa: E731
        model = Scripted(script, batch_size=4, retry=RetryPolicy(wait=1, seed=5), clock=clock)
        model.predict(numbered(12))
        model.predict(numbered(12))
        return clock.waits

    waits = run()
    assert waits == run()
    assert len(set(waits)) == len(waits) == 12


def test_answers_go_to_the_images_device() -> None:
    images = numbered(3)
    answers = Scripted(access="logits").ask(images)
    assert answers.labels.device == images.device
    assert answers.scores is not None
    assert answers.scores.device == images.device
