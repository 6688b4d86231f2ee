"""Keeps the figures of every iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from zotoolkit.callbacks.base import Callback
from zotoolkit.checks import check_count

if TYPE_CHECKING:
    from zotoolkit.run import Run


class History(Callback):
    """Keeps what the solver reported, a row every few iterations.

    Args:
        every: Iterations between two rows.

    Attributes:
        rows: Dicts with "iteration", "queries", "seconds", "best_value" and the solver's own figures.

    Examples:
        >>> import zotoolkit
        >>> history = History()
        >>> objective = zotoolkit.make("Functions/Sphere-v0", dim=2)
        >>> _ = zotoolkit.minimize(
        ...     objective, zotoolkit.make_solver("ZO/SGD-CGE-v0"), budget=30, callbacks=[history], progress=False
        ... )
        >>> [row["queries"] for row in history.rows[:3]]
        [3, 6, 9]
    """

    def __init__(self, every: int = 1) -> None:
        self.every = check_count(every, "every")
        self.rows: list[dict[str, float]] = []

    @override
    def on_iteration(self, run: Run) -> None:
        if run.iteration % self.every == 0:
            self.rows.append(
                {
                    "iteration": run.iteration,
                    "queries": run.queries,
                    "seconds": run.seconds,
                    "best_value": run.best_value,
                    **run.figures,
                }
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]
