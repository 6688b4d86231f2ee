"""The base of solvers around third-party optimisers whose state cannot be saved without pickle.

Such an optimiser is taken to be deterministic: the same seed and the same answers make it ask the same points. So the
state is what it was told since the start, 9 bytes a query, and resuming means telling it all that again. That costs the
optimiser's own time and no query. A checksum of all queries notices an optimiser that did not repeat itself.

Losses that cannot be used (failed, skipped, NaN, infinite) are told as a penalty, since most optimisers know numbers
only: the worst loss so far plus the largest of 1, its magnitude, and the spread of the losses so far; 1e20 while there
has been no loss to compare with, so that no failed point is ever taken for the best.
"""

from __future__ import annotations

import sys
import zlib
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import AskTellOrder, CheckpointMismatch
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch
from zotoolkit.solvers.base import Solver

_UNKNOWN = 1e20


class ReplayedSolver(Solver):
    """Remembers what it was told and resumes by replaying it.

    A subclass writes `_open`, `_query`, `_take`, `_release` and `_library`, all of them deterministic.

    Attributes:
        planned: Queries the run means to spend, as `plan` was told; None if it was not.
        best_x: `(d,)` point of the lowest loss observed; the start point before there is one.
        best_value: That loss; infinite before there is one.
    """

    planned: int | None
    best_x: Tensor
    best_value: float

    # What a subclass writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def _open(self) -> None:
        """Set the state for a new run; the optimiser is made at the first `_query`, when `planned` is known."""

    @abstractmethod
    def _query(self) -> QueryBatch:
        """Ask the optimiser for the next batch, inside the bounds."""

    @abstractmethod
    def _take(self, batch: QueryBatch, losses: np.ndarray, usable: np.ndarray) -> None:
        """Tell the optimiser `(q,)` float64 losses, all finite: the penalty where `(q,)` usable is False."""

    def _release(self) -> None:
        """End what the optimiser keeps running, such as threads; called again and again."""

    @property
    @abstractmethod
    def _library(self) -> str:
        """Name and version of the library, for messages."""

    # --------------------------------------------------------------------------------------------------------------

    @override
    def plan(self, budget: int) -> None:
        """Hear how many queries there will be; optimisers that pace themselves by a budget are made with it.

        Raises:
            InvalidSetting: If budget is below 1.
            AskTellOrder: If the run has begun already.
        """
        self._check_ready("plan")
        if self.iteration or self._asked is not None:
            raise AskTellOrder("plan is called after reset and before the first ask.")
        self.planned = check_count(budget, "budget")

    @override
    def _start(self) -> None:
        self.planned = None
        self.best_x, self.best_value = self.x0.clone(), float("inf")
        self._worst = -float("inf")
        self._values: list[np.ndarray] = []
        self._usable: list[np.ndarray] = []
        self._checksum = 0
        self._release()
        self._closed = False
        self._open()

    @override
    def close(self) -> None:
        """End the optimiser's threads, if it has any; the recommendation stays."""
        self._closed = True
        self._release()

    @override
    def _ask(self) -> QueryBatch:
        if self._closed:
            raise AskTellOrder(f"{self!r} was closed; reset(space, x0) begins a new run.")
        return self._query()

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        losses, good = values.double().cpu().numpy(), usable.cpu().numpy()
        self._values.append(losses)
        self._usable.append(good)
        self._checksum = _checksum(batch, self._checksum)
        loss = float("nan")
        if good.any():
            i = int(np.where(good, losses, np.inf).argmin())
            loss = float(losses[i])
            self._worst = max(self._worst, float(losses[good].max()))
            if loss < self.best_value:
                self.best_value, self.best_x = loss, batch[i : i + 1].points()[0]
        self._take(batch, losses if good.all() else np.where(good, losses, self._penalty()), good)
        return {"loss": loss, "best": self.best_value}

    def _penalty(self) -> float:
        if self._worst == -float("inf"):
            return _UNKNOWN
        spread = self._worst - self.best_value
        return min(self._worst + max(spread, abs(self._worst), 1.0), sys.float_info.max)

    @override
    def _state(self) -> dict[str, Any]:
        def whole(parts: list[np.ndarray], dtype: type) -> Tensor:
            return torch.from_numpy(np.concatenate(parts) if parts else np.empty(0, dtype))

        return {
            "library": self._library,
            "planned": self.planned,
            "sizes": torch.tensor([len(part) for part in self._values], dtype=torch.int64),
            "values": whole(self._values, np.float64),
            "usable": whole(self._usable, np.bool_),
            "checksum": self._checksum,
        }

    @override
    def _load(self, state: dict[str, Any]) -> None:
        self.planned = state["planned"]
        finished, self.finished = self.finished, False
        values, usable = state["values"].cpu(), state["usable"].cpu()
        position = 0
        self.iteration = 0
        for size in state["sizes"].tolist():
            batch = self._ask() if not self.finished else None
            if batch is None or len(batch) != size:
                raise self._not_repeated(state)
            rows = slice(position, position + size)
            self._tell(batch, values[rows], usable[rows])
            self.iteration += 1
            position += size
        if self._checksum != state["checksum"]:
            raise self._not_repeated(state)
        self.finished = finished

    def _not_repeated(self, state: dict[str, Any]) -> CheckpointMismatch:
        return CheckpointMismatch(
            f"the replay asked for other points than the run that was saved (with {state['library']}; this is "
            f"{self._library}), so the run cannot go on as it would have. Resume with the versions and on the kind of "
            "machine that it was saved with, or begin a new run from its best point (x0)."
        )


def _checksum(batch: QueryBatch, start: int) -> int:
    """Return the CRC-32 of what a batch asks, continuing from another one."""
    parts = [batch.base, batch.scale]
    if isinstance(batch, DenseBatch):
        parts.append(batch.directions)
    elif isinstance(batch, CoordinateBatch):
        parts.append(batch.index)
    for part in parts:
        array: Any = part.cpu().contiguous().numpy()
        start = zlib.crc32(array, start)
    return start
