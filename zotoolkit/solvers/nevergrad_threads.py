"""The threads of optimisers that nevergrad takes over from other packages, tamed.

Such an optimiser runs on a thread of its own (`recaster._MessagingThread`). As nevergrad starts it, that thread keeps
the process from ending (issues 180 and 325 there), and it goes on computing after `tell` has returned, so that what it
draws from a global generator depends on the scheduler. Here such a thread is a daemon and a coroutine: `tell` returns
when it has posted its next point or ended, so one thread computes at a time.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nevergrad.optimization import recaster
from typing_extensions import override

from zotoolkit.solvers.isolation import isolated

# When `__init__` raises, `__del__` runs all the same and looks for this.
recaster.RecastOptimizer._messaging_thread = None  # pyright: ignore[reportAttributeAccessIssue]


class AskedTwice(RuntimeError):
    """A composed optimiser asked its sub-optimiser again without telling it, which in nevergrad hangs forever."""


class _Points(queue.Queue[Any]):
    """What the optimiser's thread posts: points, and at the end None or an exception."""

    def __init__(self, thread: CoroutineThread) -> None:
        super().__init__()
        self._thread = thread

    @override
    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        with self._thread.change:
            super().put(item, block, timeout)
            if item is not None and not isinstance(item, Exception):
                self._thread.idle.set()

    @override
    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self._thread.change:
            stuck = self._thread.idle.is_set() and self.empty()
        if stuck:
            raise AskedTwice("it asked a sub-optimiser again before telling it, and would wait forever")
        return super().get(block, timeout)


class _Losses(queue.Queue[Any]):
    """What the optimiser's thread waits for: losses, or None to end."""

    def __init__(self, thread: CoroutineThread) -> None:
        super().__init__()
        self._thread = thread

    @override
    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self._thread.hand_over(lambda: super(_Losses, self).put(item, block, timeout), wait=item is not None)


class CoroutineThread(recaster._MessagingThread):
    """Runs while the caller waits, and lets the process end."""

    def __init__(self, caller: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(caller, *args, **kwargs)
        self.daemon = True
        self.idle = threading.Event()  # set while this thread waits for a loss, and when it is over
        self._over = False
        self._stopping = False
        self.change = threading.RLock()  # reentrant: the garbage collector may call stop in the middle
        self.messages_ask = _Points(self)
        self.messages_tell = _Losses(self)

    @override
    def run(self) -> None:
        try:
            super().run()
        finally:
            with self.change:
                self.messages_ask.put(None)  # whoever asks once more finds that this is over
                self._over = True
                self.idle.set()

    @override
    def is_alive(self) -> bool:
        return super().is_alive() and not self._over

    @override
    def _fake_callable(self, *args: Any) -> Any:
        if self._stopping:  # the optimiser caught the first one and carried on
            raise recaster.StopOptimizerThread
        return super()._fake_callable(*args)

    @override
    def stop(self) -> None:
        self._stopping = True
        super().stop()

    def hand_over(self, put: Callable[[], None], wait: bool) -> None:
        """Give this thread something to go on with and, if asked to, wait until it rests again."""
        with self.change:
            if self._over:
                return
            self.idle.clear()
        put()
        if wait and threading.current_thread() is not self:
            self.idle.wait()


class NevergradCalls:
    """Where all calls into one nevergrad optimiser are made, so that it gets tame threads."""

    def __init__(self) -> None:
        self._threads: weakref.WeakSet[CoroutineThread] = weakref.WeakSet()

    @contextmanager
    def __call__(self, seed: int) -> Iterator[None]:
        """Isolate the calls inside; see `isolated`."""
        with isolated(seed):
            former = recaster._MessagingThread
            recaster._MessagingThread = self._spawn  # pyright: ignore[reportAttributeAccessIssue]
            try:
                yield
            finally:
                recaster._MessagingThread = former

    def close(self) -> None:
        """End the threads."""
        threads = list(self._threads)
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(timeout=5.0)

    def _spawn(self, caller: Callable[..., Any], *args: Any, **kwargs: Any) -> CoroutineThread:
        thread = CoroutineThread(caller, *args, **kwargs)
        self._threads.add(thread)
        return thread
