"""Ctrl-C: at once while queries are answered, else at the next safe place, and never swallowed."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from zotoolkit.interrupt import InterruptGuard


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_at_once_where_it_is_allowed() -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard, guard.interruptible():  # noqa: PT012
        press_ctrl_c()
        pytest.fail("went on after Ctrl-C")


def test_later_where_it_is_not() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard:  # noqa: PT012
        press_ctrl_c()
        steps.append("told")
        guard.checkpoint()
        steps.append("went on")
    assert steps == ["told"]


def test_before_the_next_batch_is_asked() -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard:  # noqa: PT012
        press_ctrl_c()
        with guard.interruptible():
            pytest.fail("asked after Ctrl-C")


def test_twice_means_now() -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard():  # noqa: PT012
        press_ctrl_c()
        press_ctrl_c()
        pytest.fail("went on after the second Ctrl-C")


def test_at_the_very_end_it_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard():
        press_ctrl_c()


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with InterruptGuard():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_users_is_left_alone() -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with InterruptGuard() as guard:
            press_ctrl_c()
            guard.checkpoint()
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [signal.SIGINT]


def test_off_the_main_thread_it_does_nothing() -> None:
    outcome: list[bool] = []

    def work() -> None:
        with InterruptGuard() as guard, guard.interruptible():
            outcome.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [True]
