"""Ctrl-C that never tears a state: raised at once while queries are answered, else at the end of the iteration."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from typing_extensions import Self


class InterruptGuard:
    """Within this context SIGINT raises `KeyboardInterrupt` only where the run can bear it.

    A second SIGINT raises wherever the run is. Off the main thread, where Python delivers no signals, it does nothing.

    Examples:
        >>> with InterruptGuard() as guard:
        ...     with guard.interruptible():
        ...         pass  # answer queries
        ...     guard.checkpoint()  # raises here if SIGINT came elsewhere
    """

    def __init__(self) -> None:
        self._pending = False
        self._allowed = False
        self._previous: object = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.getsignal(signal.SIGINT)
            # A handler that the user installed is the user's business; so is an ignored SIGINT.
            if self._previous is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if error is None:
            self.checkpoint()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._allowed or self._pending:
            raise KeyboardInterrupt
        self._pending = True

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within this context SIGINT raises at once."""
        self.checkpoint()
        self._allowed = True
        try:
            yield
        finally:
            self._allowed = False

    def checkpoint(self) -> None:
        """Raise if SIGINT came while it could not.

        Raises:
            KeyboardInterrupt: Then.
        """
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
