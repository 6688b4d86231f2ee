"""Stops a run that no longer gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from zotoolkit.callbacks.base import Callback
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief

if TYPE_CHECKING:
    from zotoolkit.run import Run


class EarlyStop(Callback):
    """Stops once the best observed loss has not fallen for so many queries.

    Args:
        patience: Queries to wait for an improvement.
        least: By how much the best loss must fall to count as an improvement.

    Raises:
        InvalidSetting: If patience is below 1 or least is negative.
    """

    def __init__(self, patience: int, least: float = 0.0) -> None:
        self.patience = check_count(patience, "patience")
        if not least >= 0:
            raise InvalidSetting(f"least must be at least 0, got {brief(least)}.")
        self.least = least
        self._reference = float("inf")
        self._since = 0

    @override
    def on_iteration(self, run: Run) -> bool:
        if run.best_value < self._reference - self.least:
            self._reference, self._since = run.best_value, run.queries
        return run.queries - self._since >= self.patience

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"reference": self._reference, "since": self._since}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._reference, self._since = state["reference"], state["since"]
