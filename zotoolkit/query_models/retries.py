"""When and how often a batch that failed is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from zotoolkit.checks import check_count, check_least, check_positive
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import check_seed, derive_seed


class BatchFailed(Exception):
    """Raised by `QueryModel.evaluate` when no row of the batch got an answer, with what may help.

    Args:
        message: What went wrong, a sentence.
        again: Whether the same batch may be answered another time.
        wait: Seconds that the other side asks to wait before that.
        halve: Whether parts of the batch may be answered where the whole is not.
        too_large: Whether that is so for every batch of this size from now on.
    """

    def __init__(
        self,
        message: str,
        *,
        again: bool = True,
        wait: float | None = None,
        halve: bool = False,
        too_large: bool = False,
    ) -> None:
        super().__init__(message)
        self.again = again
        self.wait = wait
        self.halve = halve or too_large
        self.too_large = too_large


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    Before attempt k + 1 it waits `wait * 2^(k - 1)` seconds, at most `longest_wait`, less a random share of that of up
    to `jitter`, so that batches which failed together do not come again together; longer where the other side says so.

    Args:
        attempts: How often a batch is sent at most, the first time included.
        wait: Seconds before the second attempt.
        longest_wait: Seconds that a wait of ours never exceeds.
        jitter: Largest share of a wait that is left out, in [0, 1].
        give_up: Seconds after a batch's first attempt from which on no further one begins. An attempt that is under
            way is left to its own time-out.
        seed: What the jitter derives from.

    Raises:
        InvalidSetting: If a number is out of its range.

    Examples:
        >>> [RetryPolicy(wait=1, longest_wait=5, jitter=0).pause(k, 0) for k in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
    """

    attempts: int = 5
    wait: float = 0.5
    longest_wait: float = 30.0
    jitter: float = 0.5
    give_up: float = 300.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(self.attempts, "RetryPolicy.attempts")
        check_least(self.wait, 0, "RetryPolicy.wait")
        check_least(self.longest_wait, 0, "RetryPolicy.longest_wait")
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, Real) or not 0 <= float(self.jitter) <= 1:
            raise InvalidSetting(f"RetryPolicy.jitter must be a number in [0, 1], got {brief(self.jitter)}.")
        check_positive(self.give_up, "RetryPolicy.give_up")
        check_seed(self.seed, "RetryPolicy.seed")

    def pause(self, attempt: int, *key: int) -> float:
        """Return the seconds to wait after attempt 1, 2, ... of the batch with this key."""
        doublings = min(attempt - 1, 1000)  # 2.0 ** 1024 overflows
        longest = min(self.longest_wait, self.wait * 2.0**doublings)
        share = derive_seed(self.seed, attempt, *key) / (1 << 63)
        return longest * (1 - self.jitter * share)
