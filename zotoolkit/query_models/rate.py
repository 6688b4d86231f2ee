"""Time between requests: a rate limit, and the clock that it goes by."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

from zotoolkit.checks import check_positive


class Clock:
    """Time that passes; tests give one whose time they move."""

    def now(self) -> float:
        """Return seconds since some moment; never goes back."""
        return time.monotonic()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Return after so many seconds, or as soon as `stop` is set."""
        if seconds > 0:
            stop.wait(min(seconds, threading.TIMEOUT_MAX))


@dataclass(frozen=True)
class RateLimit:
    """How fast a classifier may be asked. The first request goes at once, the others keep their distance.

    Args:
        images: Images a second; None for no limit.
        requests: Batches a second; None for no limit.

    Raises:
        InvalidSetting: If a number is not finite and above 0.

    Examples:
        >>> RateLimit(images=100).seconds(25)
        0.25
    """

    images: float | None = None
    requests: float | None = None

    def __post_init__(self) -> None:
        for name in ("images", "requests"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), f"RateLimit.{name}")

    def seconds(self, count: int) -> float:
        """Return how long after a batch of so many images the next one may go."""
        by_image = 0.0 if self.images is None else count / self.images
        by_request = 0.0 if self.requests is None else 1 / self.requests
        return max(by_image, by_request)


class Gate:
    """Lets batches through at the rate, and not before a moment that the other side has named.

    Args:
        limit: The rate; None for none.
        clock: What it goes by.
    """

    def __init__(self, limit: RateLimit | None, clock: Clock) -> None:
        self._limit = limit or RateLimit()
        self._clock = clock
        self._next = -math.inf
        self._lock = threading.Lock()

    def hold(self, seconds: float) -> None:
        """Let nothing through for so many seconds."""
        with self._lock:
            self._next = max(self._next, self._clock.now() + seconds)

    def pass_through(self, images: int, stop: threading.Event) -> None:
        """Wait for this batch's turn; batches take their turns in the order in which they ask."""
        with self._lock:
            now = self._clock.now()
            turn = max(now, self._next)
            self._next = turn + self._limit.seconds(images)
        self._clock.wait(turn - now, stop)
