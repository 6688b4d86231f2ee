"""The promises of an objective as a pytest class that anybody can inherit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from zotoolkit.check_objective import ObjectiveChecker, check_objective, promise
from zotoolkit.laws import Segmented
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.spaces import bounds_of
from zotoolkit.status import Status

KINDS = ("dense", "coordinate", "rademacher", "normal", "sphere", "segmented", "rademacher alive")


class ObjectiveConformance:
    """Inherit it, say what to test, and pytest runs every promise over batch kinds and chunk sizes.

    Attributes:
        queries: Points asked together.
        radius: How far from the start point they lie, in units of x.
        tolerance: How far losses may differ where bits may; see `zotoolkit.check_objective`.

    Examples:
        >>> import zotoolkit
        >>> class TestMine(ObjectiveConformance):
        ...     def make_objective(self):
        ...         return zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=3)
    """

    queries: int = 5
    radius: float = 1e-2
    tolerance: float | None = None

    def make_objective(self) -> BlackBoxObjective:
        """Return a new objective, a small one: it is asked some hundred times."""
        raise NotImplementedError(f"{type(self).__name__} must override make_objective")

    @pytest.fixture
    def objective(self) -> Iterator[BlackBoxObjective]:
        """A new objective for each test, closed after it."""
        with self.make_objective() as objective:
            yield objective

    @pytest.fixture
    def checker(self, objective: BlackBoxObjective) -> ObjectiveChecker:
        """The promises, for that objective."""
        return ObjectiveChecker(objective, self.queries, self.radius, self.tolerance)

    def test_it_is_an_objective(self, checker: ObjectiveChecker) -> None:
        """It is initialised, `step` is not overridden, and the space is a one-axis floating-point box."""
        checker.kind()
        checker.space()

    def test_reset(self, checker: ObjectiveChecker) -> None:
        """`reset` returns the start point of its seed, inside the space, fresh each time."""
        checker.reset()

    def test_answers(self, checker: ObjectiveChecker) -> None:
        """Points inside the space have one floating-point loss each."""
        checker.answers()

    def test_inputs_are_not_written_into(self, checker: ObjectiveChecker) -> None:
        """Neither points nor base change, whether through torch or through NumPy."""
        checker.inputs()

    def test_purity(self, checker: ObjectiveChecker) -> None:
        """For its seed it is a pure function of (x, context), to the bit."""
        checker.purity()

    def test_rows_are_independent(self, checker: ObjectiveChecker) -> None:
        """Losses do not depend on order, nor on which rows are asked together."""
        checker.rows()

    def test_fast_paths_agree_with_the_dense_path(self, checker: ObjectiveChecker) -> None:
        """Structured batches have the losses of their points."""
        for batch in checker.structured():
            checker.fast_path(batch)

    def test_costs_metrics_and_noise_free_losses(self, checker: ObjectiveChecker) -> None:
        """They have the promised form, are pure, and are no queries."""
        checker.reports()

    def test_two_of_a_kind_agree(self, objective: BlackBoxObjective) -> None:
        """Nothing but seed, context and point matters: a replica on another machine answers the same."""
        batch = self._batch(objective, "dense")
        with self.make_objective() as other:
            other.reset(seed=0)
            torch.testing.assert_close(other.step(batch)[0], objective.step(batch)[0], rtol=0, atol=0, equal_nan=True)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("chunk", [1, 3])
    def test_chunks_of_every_kind_of_batch(self, objective: BlackBoxObjective, kind: str, chunk: int) -> None:
        """However few queries are answered together, each has the same loss, and each is counted once."""
        batch = self._batch(objective, kind)
        checker = ObjectiveChecker(objective, self.queries, self.radius, self.tolerance)
        together, _, _, info = objective.step(batch)
        objective.limit_chunk(chunk)
        before = objective.queries
        apart, _, _, info_apart = objective.step(batch)
        promise(torch.equal(info["status"], info_apart["status"]), "a status must not depend on the chunk")
        promise(objective.queries - before <= len(batch), "a query must be counted once, however it is chunked")
        rtol = checker.relative_tolerance(together)
        size = float(together[torch.isfinite(together)].abs().max()) if torch.isfinite(together).any() else 0.0
        torch.testing.assert_close(apart, together, rtol=0, atol=rtol * size, equal_nan=True)

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_allowance_answers_the_prefix(self, objective: BlackBoxObjective, kind: str) -> None:
        """A budget that ends inside a batch skips the rest, to the query."""
        batch = self._batch(objective, kind)
        before = objective.unwrapped.queries
        with objective.allowing(2):
            values, _, _, info = objective.step(batch)
        promise(objective.unwrapped.queries - before <= 2, "no more queries may be spent than are allowed")
        skipped = info["status"] == Status.SKIPPED
        promise(int((~skipped).sum()) >= 2, "queries that are allowed must be answered")
        promise(bool(values[skipped.to(values.device)].isnan().all()), "what is skipped must be NaN")

    def test_check_objective_is_content(self, objective: BlackBoxObjective) -> None:
        """The one call that a user makes."""
        check_objective(objective, queries=self.queries, radius=self.radius, tolerance=self.tolerance)

    def _batch(self, objective: BlackBoxObjective, kind: str) -> QueryBatch:
        """A batch of `queries` queries inside the space, the first of them at the base point."""
        x0, _ = objective.reset(seed=0)
        low, high = bounds_of(objective.space, objective.device)
        radius = min(self.radius, float((high - low).min()) / 30)
        base = bounds_of(objective.space, objective.device).project(x0, 7 * radius)  # a normal entry is below 6.6
        scale = torch.full((self.queries,), radius, dtype=base.dtype, device=base.device)
        scale[0], scale[1] = 0.0, -radius
        names = torch.arange(self.queries, device=base.device)
        if kind == "dense":
            ramp = torch.linspace(-1, 1, len(base), dtype=base.dtype, device=base.device)
            directions = torch.stack([ramp.roll(i) for i in range(self.queries)])
            return DenseBatch(base=base, scale=scale, context=1, directions=directions)
        if kind == "coordinate":
            return CoordinateBatch(base=base, scale=scale, context=1, index=names % len(base))
        alive = torch.arange(0, len(base), 2, device=base.device) if kind.endswith("alive") else None
        law = kind.split()[0]
        if kind == "segmented":  # as directions are that have length 1 in each tensor of a network
            law = Segmented("normal", tuple(sorted({0, (len(base) + 1) // 2, len(base)})))
        return SeededBatch(base=base, scale=scale, context=1, seed=names, law=law, alive=alive)
