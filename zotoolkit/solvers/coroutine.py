"""A function that calls back for answers, turned inside out: it runs on a daemon thread and waits for each answer."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class _Unwind(BaseException):
    """Raised out of the callback to end the function; no `except Exception` on the way stops it."""


@dataclass(frozen=True)
class Returned:
    """The function has ended, with this result."""

    result: Any


class Coroutine(Generic[Q, A]):
    """Runs `function(ask)`, where `ask(question)` waits until the caller has an answer.

    Either the caller or the function computes, never both. The thread keeps neither the process nor this object alive:
    when the object is dropped, the function is unwound.

    Args:
        function: Gets `ask`. Must hold no reference to whoever holds this object.

    Examples:
        >>> twice = Coroutine(lambda ask: ask("one?") + ask("two?"))
        >>> twice.start(), twice.send(1), twice.send(2)
        ('one?', 'two?', Returned(result=3))
    """

    def __init__(self, function: Callable[[Callable[[Q], A]], Any]) -> None:
        self._questions: queue.SimpleQueue[Q | Returned | BaseException] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[A | _Unwind] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_run, args=(function, self._questions, self._answers), name="zotoolkit-coroutine", daemon=True
        )
        weakref.finalize(self, self._answers.put, _Unwind()).atexit = False

    def start(self) -> Q | Returned:
        """Start the function and return its first question, or its result."""
        self._thread.start()
        return self._next()

    def send(self, answer: A) -> Q | Returned:
        """Answer the last question and return the next one, or the result."""
        self._answers.put(answer)
        return self._next()

    def close(self) -> None:
        """Unwind the function and wait until it has ended."""
        self._answers.put(_Unwind())
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _next(self) -> Q | Returned:
        question = self._questions.get()
        if isinstance(question, BaseException):
            raise question
        return question


def _run(function: Callable[[Callable[[Q], A]], Any], questions: Any, answers: Any) -> None:
    ending: list[_Unwind] = []

    def ask(question: Q) -> A:
        if not ending:
            questions.put(question)
            answer = answers.get()
            if not isinstance(answer, _Unwind):
                return answer
            ending.append(answer)
        raise _Unwind  # again, if the function caught the first one and carried on

    with contextlib.suppress(_Unwind):
        try:
            outcome: Any = Returned(function(ask))
        except _Unwind:
            raise
        except BaseException as error:
            outcome = error
        questions.put(outcome)
