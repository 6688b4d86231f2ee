"""The promises of a solver as a pytest class that anybody can inherit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from zotoolkit.checkpoint import load_state, save_state
from zotoolkit.errors import AskTellOrder
from zotoolkit.queries import QueryBatch
from zotoolkit.solvers.base import Solver
from zotoolkit.spaces import bounds_of, dtype_of, make_space
from zotoolkit.status import Status, StepInfo

_INF = float("inf")
_BOUNDS = {"free": (-_INF, _INF, -_INF, _INF), "box": (-2.0, 3.0, -2.0, 3.0), "mixed": (-_INF, 3.0, -2.0, _INF)}

Loss = Callable[[Tensor], Tensor]


def quadratic(x: Tensor) -> Tensor:
    """Return the `(q,)` losses of `(q, d)` points: a convex quadratic with its minimum 0 at 0.3."""
    weights = torch.linspace(1.0, 2.0, x.shape[1], dtype=x.dtype, device=x.device)
    return (weights * (x - 0.3) ** 2).sum(dim=1)


class SolverConformance:
    """Inherit it, say what to test, and pytest tries every promise in several kinds of space.

    Attributes:
        dim: Number of coordinates of the spaces it is tried in.
        cases: Kinds of space and dtypes: "free" has no bounds, in a "box" all are finite, and in a "mixed" one each
            coordinate is bounded on one side.
        iterations: Batches that a trial run asks.
        budget: Queries that a trial run plans.
        lag: By how many iterations a batch's context may stay behind, for a solver that asks a mini-batch again.
        stochastic: Whether another seed asks other points.
        share: What is left of the start's loss after `progress_budget` queries on a convex quadratic, at most.
        progress_budget: Those queries.

    Examples:
        >>> import zotoolkit
        >>> class TestMine(SolverConformance):
        ...     def make_solver(self):
        ...         return zotoolkit.RandomSearch(q=4)
    """

    dim: int = 3
    cases: tuple[tuple[str, str], ...] = (("free", "float64"), ("box", "float32"), ("mixed", "float64"))
    iterations: int = 6
    budget: int = 60
    lag: int = 0
    stochastic: bool = True
    share: float = 0.5
    progress_budget: int = 400

    def make_solver(self) -> Solver:
        """Return a new solver, with the same settings every time."""
        raise NotImplementedError(f"{type(self).__name__} must override make_solver")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every promise in every case."""
        if "space" in metafunc.fixturenames:
            boxes = [self.make_space(kind, dtype) for kind, dtype in self.cases]
            metafunc.parametrize("space", boxes, ids=["-".join(case) for case in self.cases])

    def make_space(self, kind: str, dtype: str) -> Box:
        """Return the space of that kind; even coordinates have the first pair of bounds, odd ones the second."""
        ends = _BOUNDS[kind]
        low, high = ([ends[2 * (i % 2) + side] for i in range(self.dim)] for side in (0, 1))
        return make_space(self.dim, low, high, dtype)

    def start(self, space: Box) -> Tensor:
        """Return the `(d,)` start point."""
        return torch.linspace(1.5, -0.5, self.dim, dtype=dtype_of(space))

    @contextmanager
    def running(self, space: Box, seed: int = 1) -> Iterator[Solver]:
        """A solver that has been reset, closed in the end."""
        solver = self.make_solver()
        try:
            solver.reset(space, self.start(space), seed=seed)
            solver.plan(self.budget)
            yield solver
        finally:
            solver.close()

    def course(self, solver: Solver, iterations: int, loss: Loss = quadratic) -> list[Tensor]:
        """Ask and tell so many batches, fewer if the solver finishes, and return the points of each."""
        asked: list[Tensor] = []
        for _ in range(iterations):
            if solver.finished:
                break
            batch = solver.ask()
            asked.append(batch.points())
            solver.tell(batch, loss(asked[-1]))
        return asked

    # The promises ---------------------------------------------------------------------------------------------------

    def test_asks_batches_of_the_space(self, space: Box) -> None:
        """A batch has the space's dimension and dtype, at least one query, finite points, the iteration as context."""
        with self.running(space) as solver:
            for k in range(self.iterations):
                if solver.finished:
                    break
                batch = solver.ask()
                assert isinstance(batch, QueryBatch)
                assert (batch.dim, batch.dtype) == (self.dim, dtype_of(space))
                assert k - self.lag <= batch.context <= k
                assert len(batch) >= 1
                points = batch.points()
                assert torch.isfinite(points).all()
                figures = solver.tell(batch, quadratic(points))
                assert all(isinstance(key, str) and isinstance(value, float) for key, value in figures.items())
                assert solver.iteration == k + 1

    def test_queries_and_recommendations_stay_inside(self, space: Box) -> None:
        """Neither leaves the bounds, even if the loss falls towards them."""
        low, high = bounds_of(space)
        with self.running(space) as solver:
            for _ in range(2 * self.iterations):
                if solver.finished:
                    break
                batch = solver.ask()
                points = batch.points()
                assert bool((points >= low).all())
                assert bool((points <= high).all())
                solver.tell(batch, torch.arange(1.0, self.dim + 1).to(points) @ points.T)
                x = solver.recommend()
                assert bool(((x >= low) & (x <= high)).all())

    def test_order(self, space: Box) -> None:
        """Asked twice, it returns the same batch; told twice, or before it is reset, it raises AskTellOrder."""
        fresh = self.make_solver()
        with pytest.raises(AskTellOrder):
            fresh.ask()
        fresh.close()
        with self.running(space) as solver:
            batch = solver.ask()
            assert solver.ask() is batch
            values = quadratic(batch.points())
            solver.tell(batch, values)
            with pytest.raises(AskTellOrder):
                solver.tell(batch, values)

    def test_nothing_it_is_given_is_written_into(self, space: Box) -> None:
        """The start point, the batch and the losses stay as they are; recommend returns fresh memory."""
        x0 = self.start(space)
        kept = x0.clone()
        with self.running(space) as solver:
            solver.reset(space, x0, seed=1)
            solver.plan(self.budget)
            for _ in range(self.iterations):
                if solver.finished:
                    break
                batch = solver.ask()
                base, points = batch.base.clone(), batch.points()
                values = quadratic(points)
                told = values.clone()
                solver.tell(batch, values)
                assert torch.equal(batch.base, base)
                assert torch.equal(batch.points(), points)
                assert torch.equal(values, told)
                x = solver.recommend()
                solver.recommend().zero_()
                assert torch.equal(solver.recommend(), x)
            assert torch.equal(x0, kept)

    def test_the_seed_decides_everything(self, space: Box) -> None:
        """The same seed asks the same points, also after a reset of the same solver and with recommend in between."""
        with self.running(space) as solver, self.running(space) as again, self.running(space, seed=2) as other:
            first = self.course(solver, self.iterations)
            second: list[Tensor] = []
            while len(second) < len(first):
                again.recommend()
                second += self.course(again, 1)
            _assert_same(first, second)
            assert torch.equal(solver.recommend(), again.recommend())
            solver.reset(space, self.start(space), seed=1)
            solver.plan(self.budget)
            _assert_same(first, self.course(solver, self.iterations))
            if self.stochastic:
                third = self.course(other, self.iterations)
                assert len(first) != len(third) or any(
                    a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, third, strict=True)
                ), "another seed asked the same points; set stochastic = False if there is nothing random"

    def test_global_random_state_is_left_alone(self, space: Box) -> None:
        """Neither read nor written: torch's, NumPy's and Python's generators."""
        states = _global_states()
        with self.running(space) as solver:
            first = self.course(solver, self.iterations)
            solver.recommend()
        assert _global_states() == states
        with self.running(space) as solver:
            torch.rand(3)
            np.random.rand(3)  # noqa: NPY002
            random.random()
            _assert_same(first, self.course(solver, self.iterations))

    def test_a_resumed_run_is_the_same_to_the_bit(self, space: Box, tmp_path: Path) -> None:
        """Whenever its state is written to a file and loaded into a new solver, also between ask and tell."""
        with self.running(space) as solver:
            whole = self.course(solver, self.iterations, _sometimes_failing)
            best, finished = solver.recommend(), solver.finished
        for split in {0, 1, len(whole) // 2, len(whole)}:
            with self.running(space) as solver, self.running(space) as resumed:
                before = self.course(solver, split, _sometimes_failing)
                folder = tmp_path / str(split)
                save_state(folder, {"solver": solver.state_dict()}, {})
                stand = solver.recommend()
                if not solver.finished:
                    solver.ask()
                    assert _same_state(solver.state_dict(), load_state(folder)[0]["solver"]), "ask changed the state"
                resumed.load_state_dict(load_state(folder)[0]["solver"])
                assert torch.equal(resumed.recommend(), stand)
                assert (resumed.iteration, resumed.finished) == (solver.iteration, solver.finished)
                _assert_same(whole, before + self.course(resumed, self.iterations - split, _sometimes_failing))
                assert torch.equal(resumed.recommend(), best)
                assert resumed.finished == finished

    def test_unusable_losses_are_survived(self, space: Box) -> None:
        """A whole batch that fails, then some: failed, not finite, skipped. It recommends no point that is not one."""
        low, high = bounds_of(space)
        with self.running(space) as solver:
            for k in range(self.iterations):
                if solver.finished:
                    break
                batch = solver.ask()
                values = quadratic(batch.points())
                status = torch.zeros(len(batch), dtype=torch.uint8)
                bad = torch.ones(len(batch), dtype=torch.bool) if k == 0 else torch.arange(len(batch)) % 4 == k % 4
                status[bad] = (Status.FAILED, Status.NON_FINITE, Status.SKIPPED)[k % 3]
                values[bad] = (float("nan"), _INF, -_INF)[k % 3]
                info = StepInfo(status=status, errors={}, queries=len(batch), costs={})
                solver.tell(batch, values, info)
                x = solver.recommend()
                assert torch.isfinite(x).all()
                assert bool(((x >= low) & (x <= high)).all())

    def test_progress_on_a_convex_quadratic(self, space: Box) -> None:
        """What it recommends is better than where it began."""
        with self.running(space) as solver:
            solver.reset(space, self.start(space), seed=1)
            solver.plan(self.progress_budget)
            spent = 0
            while spent < self.progress_budget and not solver.finished:
                spent += sum(len(points) for points in self.course(solver, 1))
            begun, ended = quadratic(torch.stack((self.start(space), solver.recommend()))).tolist()
            assert ended <= self.share * begun


def _sometimes_failing(x: Tensor) -> Tensor:
    values = quadratic(x)
    return torch.where((1e3 * values).round() % 7 == 3, torch.nan, values)


def _assert_same(first: list[Tensor], second: list[Tensor]) -> None:
    assert len(first) == len(second), f"{len(first)} batches and {len(second)}"
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        assert a.shape == b.shape, f"batch {k} has shape {tuple(a.shape)} and {tuple(b.shape)}"
        assert torch.equal(a, b), f"batch {k} differs by up to {(a - b).abs().max():g}"


def _same_state(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_state(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same_state(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b) or (bool(a != a) and bool(b != b))


def _global_states() -> tuple[object, ...]:
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    return random.getstate(), tuple(torch.get_rng_state().tolist()), repr(numpy)
