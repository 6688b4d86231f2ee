"""What was sent and what came back, by purpose."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

from zotoolkit.checks import check_count
from zotoolkit.errors import CheckpointMismatch, InvalidSetting, brief
from zotoolkit.query_models.budget import check_purpose


@dataclass
class Counts:
    """Counters of one purpose, or of all.

    Attributes:
        sent: Images sent; a retry sends again.
        answered: Images that got an answer.
        failed: Images that got none after all attempts.
        batches: Batches sent; over HTTP these are the requests.
        retried: Batches among them that were sent again, whole or in part.
    """

    sent: int = 0
    answered: int = 0
    failed: int = 0
    batches: int = 0
    retried: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.sent + other.sent,
            self.answered + other.answered,
            self.failed + other.failed,
            self.batches + other.batches,
            self.retried + other.retried,
        )


class Ledger:
    """Counts by purpose, safe to write from several threads.

    Examples:
        >>> ledger = Ledger()
        >>> ledger.record("training", sent=64, batches=1)
        >>> ledger.record("training", answered=64)
        >>> ledger.sent, ledger.answered, ledger.of("certification").sent
        (64, 64, 0)
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}
        self._lock = threading.Lock()

    def record(
        self, purpose: str, *, sent: int = 0, answered: int = 0, failed: int = 0, batches: int = 0, retried: int = 0
    ) -> None:
        """Add to the counters of a purpose."""
        with self._lock:
            counts = self._counts.setdefault(purpose, Counts())
            counts.sent += sent
            counts.answered += answered
            counts.failed += failed
            counts.batches += batches
            counts.retried += retried

    def of(self, purpose: str) -> Counts:
        """Return a copy of the counters of a purpose."""
        with self._lock:
            return self._counts.get(purpose, Counts()) + Counts()

    @property
    def purposes(self) -> tuple[str, ...]:
        """Purposes that something was sent for, in the order of their first images."""
        with self._lock:
            return tuple(self._counts)

    @property
    def total(self) -> Counts:
        """Counters of all purposes together."""
        with self._lock:
            return sum(self._counts.values(), Counts())

    @property
    def sent(self) -> int:
        """Images sent; retries count again."""
        return self.total.sent

    @property
    def answered(self) -> int:
        """Images that got an answer."""
        return self.total.answered

    @property
    def failed(self) -> int:
        """Images that got none after all attempts."""
        return self.total.failed

    @property
    def batches(self) -> int:
        """Batches sent."""
        return self.total.batches

    def state_dict(self) -> dict[str, dict[str, int]]:
        """Return the counters."""
        with self._lock:
            return {purpose: asdict(counts) for purpose, counts in self._counts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Raises:
            CheckpointMismatch: If these are no counters.
        """
        names = {field.name for field in fields(Counts)}
        try:
            loaded = {
                check_purpose(purpose): Counts(**{name: check_count(counts[name], name, least=0) for name in names})
                for purpose, counts in state.items()
            }
        except (KeyError, TypeError, AttributeError, InvalidSetting) as error:
            raise CheckpointMismatch(f"{brief(state)} is no state of a Ledger.") from error
        with self._lock:
            self._counts = loaded

    def __repr__(self) -> str:
        total = self.total
        return f"<Ledger: {total.sent:,} images sent, {total.answered:,} answered, {total.failed:,} failed>"
