"""The start point, untouched: what every solver's gain is measured from."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from zotoolkit.queries import DenseBatch, QueryBatch
from zotoolkit.solvers.base import Solver


class StartPoint(Solver):
    """Stands by the start point. One query tells its loss."""

    @override
    def _start(self) -> None:
        pass

    @override
    def _ask(self) -> QueryBatch:
        return DenseBatch.at(self.x0[None], self.iteration)

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        self.finished = True
        return {"loss": float(values[0])}

    @override
    def recommend(self) -> Tensor:
        return self.x0.clone()

    @override
    def _state(self) -> dict[str, Any]:
        return {}
