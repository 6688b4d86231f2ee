"""Records how good a run has become after how many queries."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from zotoolkit.callbacks.base import Callback
from zotoolkit.checks import check_count

if TYPE_CHECKING:
    from zotoolkit.run import Run

METRIC = "metric."
"""Prefix of the columns that hold an objective's metrics."""


class CurveRecorder(Callback):
    """Takes a point of the curve at log-spaced numbers of queries.

    A point is taken at the end of the first iteration that has spent at least 10^(k / per_decade) queries, at the start
    and at the end. The true loss and the metrics of the solver's recommendation are evaluated there; that is no query
    and none of the run's seconds.

    Args:
        per_decade: Points per factor of ten in queries.

    Attributes:
        rows: Dicts with "queries", "forward_equivalents", "seconds", "observed_best" (lowest loss that a query has
            observed; NaN before the first), "noise_free_best" (lowest true loss of the points recommended so far; NaN
            where the objective knows none) and "metric.NAME" (of the present recommendation).
        evaluation_seconds: What the evaluations took.

    Raises:
        InvalidSetting: If per_decade is not positive.
    """

    def __init__(self, per_decade: int = 20) -> None:
        self.per_decade = check_count(per_decade, "per_decade")
        self.rows: list[dict[str, float]] = []
        self.evaluation_seconds = 0.0
        self._best = math.inf
        self._run: Run | None = None

    @override
    def on_start(self, run: Run) -> None:
        self._run = run
        if not self.rows:
            self._take(run)

    @override
    def on_iteration(self, run: Run) -> None:
        if run.queries >= self._next_at():
            self._take(run)

    def finish(self, metrics: Mapping[str, float] | None = None) -> None:
        """Add the run's last point; called once `minimize` has returned, and not after an interrupt.

        Args:
            metrics: What the result tells at its point, final metrics among it.

        Raises:
            RuntimeError: If there was no run.
        """
        run = self._run
        if run is None:
            raise RuntimeError("the recorder must be among the callbacks of a run that has ended.")
        if self.rows and self.rows[-1]["queries"] >= run.queries:
            self.rows.pop()
        self._take(run)
        self.rows[-1].update({METRIC + name: float(value) for name, value in (metrics or {}).items()})

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self._best, "evaluation_seconds": self.evaluation_seconds}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self._best = list(state["rows"]), state["best"]
        self.evaluation_seconds = state["evaluation_seconds"]

    def _next_at(self) -> float:
        """How many queries the next point waits for."""
        last = self.rows[-1]["queries"] if self.rows else 0
        if last < 1:
            return 1.0
        # The small addition keeps rounding from naming the same place again.
        return 10 ** (math.floor(math.log10(last) * self.per_decade + 1e-9 + 1) / self.per_decade)

    def _take(self, run: Run) -> None:
        begun = time.perf_counter()
        x = run.solver.recommend()
        true = run.objective.noise_free(x[None])
        if true is not None:
            # NaN is no improvement, and min() would let it through.
            value = float(true[0])
            self._best = value if value < self._best else self._best
        metrics = run.objective.metrics(x)
        self.rows.append(
            {
                "queries": run.queries,
                "forward_equivalents": run.costs.get("forward_equivalents", 0.0),
                "seconds": run.seconds,
                "observed_best": run.best_value if math.isfinite(run.best_value) else math.nan,
                "noise_free_best": math.nan if true is None or math.isinf(self._best) else self._best,
                **{METRIC + name: float(value) for name, value in metrics.items()},
            }
        )
        self.evaluation_seconds += time.perf_counter() - begun
