"""A limit on the images that may be sent, with parts that are kept for one purpose."""

from __future__ import annotations

import threading
from typing import Any

from zotoolkit.checks import check_count
from zotoolkit.errors import BudgetSpent, CheckpointMismatch, InvalidSetting, brief

DEFAULT_PURPOSE = "general"
CERTIFICATION = "certification"
TRAINING = "training"
DRIFT = "drift"


class QueryBudget:
    """So many images may be sent and not one more; retries count.

    A purpose with a reserve spends that first and then what is free; nothing else can touch its reserve. Several models
    may share one budget, and several threads one model.

    Args:
        total: Images in all.
        reserved: Images that only this purpose may spend, such as `{"certification": 200_000}`.

    Raises:
        InvalidSetting: If a number is no integer of at least 0, or the reserves are more than the total.

    Examples:
        >>> budget = QueryBudget(100, reserved={"certification": 60})
        >>> budget.remaining("training"), budget.remaining("certification")
        (40, 100)
        >>> budget.take(40, "training")
        >>> budget.remaining("training"), budget.remaining("certification")
        (0, 60)
    """

    def __init__(self, total: int, reserved: dict[str, int] | None = None) -> None:
        self.total = check_count(total, "total", least=0)
        if reserved is not None and not isinstance(reserved, dict):
            raise InvalidSetting(f"reserved must be a dict of purpose to images, got {brief(reserved)}.")
        self.reserved = {
            check_purpose(purpose): check_count(images, f"reserved[{purpose!r}]", least=0)
            for purpose, images in (reserved or {}).items()
        }
        if (kept := sum(self.reserved.values())) > self.total:
            raise InvalidSetting(f"{kept:,} images are reserved of a total of {self.total:,}; raise the total.")
        self._spent: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def spent(self) -> dict[str, int]:
        """Images sent so far, by purpose."""
        with self._lock:
            return {purpose: count for purpose, count in self._spent.items() if count}

    def remaining(self, purpose: str = DEFAULT_PURPOSE) -> int:
        """Return how many images may still be sent for this purpose."""
        with self._lock:
            return self._remaining(purpose)

    def shortfall(self, needs: dict[str, int]) -> int:
        """Return how many images are missing if each purpose is still to send so many; 0 if all of them are there."""
        with self._lock:
            beyond = sum(max(0, count - self._kept(purpose)) for purpose, count in needs.items())
            return max(0, beyond - self._free())

    def take(self, images: int, purpose: str = DEFAULT_PURPOSE) -> None:
        """Spend so many images.

        Raises:
            BudgetSpent: If fewer are left; then none is spent.
        """
        with self._lock:
            left = self._remaining(purpose)
            if images > left:
                kept = {name: self._kept(name) for name in self.reserved if name != purpose and self._kept(name)}
                held = "".join(f", {count:,} more are reserved for {name}" for name, count in kept.items())
                raise BudgetSpent(
                    f"{images:,} images were to be sent for {purpose}, but of the budget of {self.total:,} only "
                    f"{left:,} are left for that{held}; none was sent. Raise the budget or ask for less."
                )
            self._spend(images, purpose)

    def try_take(self, images: int, purpose: str = DEFAULT_PURPOSE) -> bool:
        """Spend so many images and return True, or return False if fewer are left."""
        with self._lock:
            if images > self._remaining(purpose):
                return False
            self._spend(images, purpose)
            return True

    def give_back(self, images: int, purpose: str = DEFAULT_PURPOSE) -> None:
        """Take back images that were spent, but never sent."""
        with self._lock:
            self._spend(-images, purpose)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"total": self.total, "reserved": dict(self.reserved), "spent": self.spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; what was spent stays spent, under this budget's limits.

        Raises:
            CheckpointMismatch: If it is no such state.
        """
        try:
            spent = {check_purpose(name): check_count(count, name, least=0) for name, count in state["spent"].items()}
        except (KeyError, TypeError, AttributeError, InvalidSetting) as error:
            raise CheckpointMismatch(f"{brief(state)} is no state of a QueryBudget.") from error
        with self._lock:
            self._spent = spent

    def _kept(self, purpose: str) -> int:
        return max(0, self.reserved.get(purpose, 0) - self._spent.get(purpose, 0))

    def _free(self) -> int:
        purposes = {*self.reserved, *self._spent}
        return max(0, self.total - sum(max(self._spent.get(p, 0), self.reserved.get(p, 0)) for p in purposes))

    def _remaining(self, purpose: str) -> int:
        return self._kept(purpose) + self._free()

    def _spend(self, images: int, purpose: str) -> None:
        self._spent[purpose] = self._spent.get(purpose, 0) + images

    def __repr__(self) -> str:
        return f"<QueryBudget: {sum(self.spent.values()):,} of {self.total:,} spent, reserved {self.reserved}>"


def check_purpose(purpose: object) -> str:
    """Return the purpose.

    Raises:
        InvalidSetting: If it is not a word.
    """
    if not isinstance(purpose, str) or not purpose.strip():
        raise InvalidSetting(f"a purpose must be a word such as 'certification', got {brief(purpose)}.")
    return purpose
