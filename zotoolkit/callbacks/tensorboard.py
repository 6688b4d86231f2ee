"""Writes a run's figures for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from zotoolkit.callbacks.base import Callback
from zotoolkit.checks import check_count
from zotoolkit.errors import MissingExtra

if TYPE_CHECKING:
    from zotoolkit.run import Run


class TensorBoard(Callback):
    """Logs the solver's figures, the best loss and the speed against queries, and the metrics at the end.

    Args:
        folder: Where TensorBoard looks: `tensorboard --logdir FOLDER`.
        every: Iterations between two points.
        metrics_every: Iterations between two evaluations of the objective's metrics; None for the end only.

    Raises:
        MissingExtra: If tensorboard is not installed.
    """

    def __init__(self, folder: str | Path, every: int = 1, metrics_every: int | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("TensorBoard logging needs: pip install 'zotoolkit[tensorboard]'.") from error
        self._make_writer = SummaryWriter
        self._writer: Any = None
        self.folder = Path(folder)
        self.every = check_count(every, "every")
        self.metrics_every = None if metrics_every is None else check_count(metrics_every, "metrics_every")

    @override
    def on_start(self, run: Run) -> None:
        # purge_step hides what an interrupted run logged beyond the checkpoint that is being resumed.
        self._writer = self._make_writer(str(self.folder), purge_step=run.queries + 1 if run.queries else None)

    @override
    def on_iteration(self, run: Run) -> None:
        if run.iteration % self.every == 0:
            for name, value in run.figures.items():
                self._writer.add_scalar(f"solver/{name}", value, run.queries)
            self._writer.add_scalar("run/best_value", run.best_value, run.queries)
            if run.seconds > 0:
                self._writer.add_scalar("run/queries_per_second", run.queries / run.seconds, run.queries)
        if self.metrics_every is not None and run.iteration % self.metrics_every == 0:
            self._log_metrics(run)

    @override
    def on_end(self, run: Run) -> None:
        self._log_metrics(run)
        self._writer.close()

    def _log_metrics(self, run: Run) -> None:
        for name, value in run.objective.metrics(run.solver.recommend()).items():
            self._writer.add_scalar(f"metrics/{name}", value, run.queries)
