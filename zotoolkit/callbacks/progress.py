"""A progress bar with the loss, the speed and the time left."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tqdm import tqdm
from typing_extensions import override

from zotoolkit.callbacks.base import Callback

if TYPE_CHECKING:
    from zotoolkit.run import Run


class Progress(Callback):
    """Shows queries spent, queries a second, time left, the solver's loss and the best one, on standard error."""

    def __init__(self) -> None:
        self._bar: Any = None

    @override
    def on_start(self, run: Run) -> None:
        self._bar = tqdm(
            total=run.budget,
            initial=run.queries,
            unit=" queries",
            unit_scale=True,
            dynamic_ncols=True,
            file=sys.stderr,
            desc=type(run.solver).__name__ if run.solver.spec is None else run.solver.spec.id,
        )

    @override
    def on_iteration(self, run: Run) -> None:
        self._bar.set_postfix_str(
            f"loss {run.figures.get('loss', run.best_value):.4g}, best {run.best_value:.4g}", False
        )
        self._bar.update(run.queries - self._bar.n)

    @override
    def on_end(self, run: Run) -> None:
        self._bar.close()
