"""The base of every wrapper: an objective around an objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import CheckpointMismatch, InvalidBatch, InvalidSetting, brief
from zotoolkit.figures.drawing import Drawing
from zotoolkit.inner import InnerBatch
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.status import StepInfo


class Wrapper(BlackBoxObjective):
    """Forwards everything to the wrapped objective; a subclass changes what it needs to.

    Batches pass through unmaterialised: a subclass that changes answers overrides `_answer`, calls
    `super()._answer(batch)` and edits what comes back.

    Args:
        objective: What to wrap.

    Attributes:
        passes_inner: Whether a `zotoolkit.inner.InnerBatch` may pass: False where the gradient that comes back with it
            would not be that of the wrapped losses.

    Raises:
        InvalidSetting: If it is no BlackBoxObjective.
    """

    passes_inner: bool = True

    def __init__(self, objective: BlackBoxObjective) -> None:
        if not isinstance(objective, BlackBoxObjective):
            raise InvalidSetting(
                f"{type(self).__name__} wraps a BlackBoxObjective, got {brief(objective)}; "
                "zotoolkit.from_callable makes one of a function."
            )
        super().__init__(objective.space, device=objective.device)
        self.objective = objective
        self.spec = objective.spec
        self.metadata = objective.metadata
        self.seed = objective.seed

    @property
    @override
    def unwrapped(self) -> BlackBoxObjective:
        return self.objective.unwrapped

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        x0, info = self.objective.reset(seed=seed, options=options)
        self.seed = self.objective.seed
        self.queries, self.costs_spent = 0, {}
        return x0, info

    @override
    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        return self.objective.step(batch)

    def _refuse_inner(self, batch: QueryBatch) -> None:
        """Refuse queries at an inner interface where they cannot pass.

        Raises:
            InvalidBatch: If the batch is one.
        """
        if isinstance(batch, InnerBatch):
            raise InvalidBatch(
                f"{type(self).__name__} changes losses or coordinates, and the gradient that an InnerBatch is answered "
                "with would not be theirs; leave the wrapper out."
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "wrapper": type(self).__name__, "objective": self.objective.state_dict()}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        if (wrapper := state.get("wrapper")) != type(self).__name__:
            raise CheckpointMismatch(
                f"the checkpoint has {wrapper or 'the bare objective'} where this run has {type(self).__name__}; "
                "resume with the same wrappers in the same order."
            )
        super().load_state_dict({name: value for name, value in state.items() if name != "wrapper"})
        self.objective.load_state_dict(state["objective"])

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return self.objective.evaluate(x, context)

    @override
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        return self.objective.evaluate_coordinates(batch)

    @override
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        return self.objective.evaluate_seeded(batch)

    @override
    def start(self) -> Tensor:
        return self.objective.start()

    @override
    def noise_free(self, x: Tensor) -> Tensor | None:
        return self.objective.noise_free(x)

    @override
    def metrics(self, x: Tensor) -> dict[str, float]:
        return self.objective.metrics(x)

    @override
    def final_metrics(self, x: Tensor) -> dict[str, float]:
        return self.objective.final_metrics(x)

    @override
    def pictures(self, points: Mapping[str, Mapping[int, Tensor]]) -> Sequence[Drawing]:
        return self.objective.pictures(points)

    @override
    def costs(self, batch: QueryBatch) -> dict[str, float]:
        return self.objective.costs(batch)

    @override
    def queries_per_chunk(self, batch: QueryBatch) -> int:
        return self.objective.queries_per_chunk(batch)

    @contextmanager
    @override
    def allowing(self, queries: int) -> Iterator[None]:
        with self.objective.allowing(queries):
            yield

    @override
    def limit_chunk(self, queries: int) -> None:
        self.objective.limit_chunk(queries)

    @override
    def close(self) -> None:
        self.objective.close()

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__}{self.objective!r}>"
