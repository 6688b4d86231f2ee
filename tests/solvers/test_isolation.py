"""Third-party code cannot touch what belongs to the process, and the thread under it ends when it should."""

from __future__ import annotations

import gc
import random
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zotoolkit.solvers.coroutine import Coroutine, Returned
from zotoolkit.solvers.isolation import isolated


def draws() -> tuple[float, float]:
    return random.random(), float(np.random.rand())  # noqa: NPY002


def draw_and_raise(expected: tuple[float, float]) -> None:
    with isolated(5):
        assert draws() == expected
        raise ZeroDivisionError


def test_global_generators_are_seeded_inside_and_put_back_after() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = [draws(), draws()]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = draws()
    with isolated(5):
        inside = draws()
    with pytest.raises(ZeroDivisionError):
        draw_and_raise(inside)
    assert [first, draws()] == expected


def test_reseeding_from_the_clock_does_nothing_inside() -> None:
    seeding = np.random.seed
    with isolated(5):
        first = draws()
    with isolated(5):
        np.random.seed()  # noqa: NPY002
        np.random.seed(int(time.time()))  # noqa: NPY002
        assert draws() == first
    assert np.random.seed is seeding


def test_warnings_stay_inside() -> None:
    with isolated(0):
        warnings.warn("a surrogate has not converged", stacklevel=1)
    with pytest.raises(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


def add(ask: Callable[[str], int]) -> int:
    return ask("one?") + ask("two?")


def test_a_function_asks_and_returns() -> None:
    coroutine: Coroutine[str, int] = Coroutine(add)
    assert [coroutine.start(), coroutine.send(1), coroutine.send(2)] == ["one?", "two?", Returned(3)]


def test_an_error_comes_out_where_the_answer_went_in() -> None:
    def fail(ask: Callable[[str], int]) -> int:
        return 1 // ask("zero?")

    coroutine: Coroutine[str, int] = Coroutine(fail)
    coroutine.start()
    with pytest.raises(ZeroDivisionError):
        coroutine.send(0)


def test_close_unwinds_even_what_swallows_everything() -> None:
    tried: list[int] = []

    def stubborn(ask: Callable[[str], int]) -> Any:
        for k in range(5):
            try:
                ask("more?")
            except BaseException:
                tried.append(k)
                if k == 4:
                    raise

    coroutine: Coroutine[str, int] = Coroutine(stubborn)
    coroutine.start()
    coroutine.close()
    assert tried == [0, 1, 2, 3, 4]
    assert not any(thread.name == "zotoolkit-coroutine" for thread in threading.enumerate())


def test_close_before_start_and_twice() -> None:
    coroutine: Coroutine[str, int] = Coroutine(add)
    coroutine.close()
    coroutine = Coroutine(add)
    coroutine.start()
    coroutine.close()
    coroutine.close()


def test_dropped_without_a_close_the_thread_ends() -> None:
    ended = threading.Event()

    def watch(ask: Callable[[str], int]) -> None:
        try:
            ask("anyone?")
        finally:
            ended.set()

    coroutine: Coroutine[str, int] = Coroutine(watch)
    coroutine.start()
    del coroutine
    gc.collect()
    assert ended.wait(timeout=30)
