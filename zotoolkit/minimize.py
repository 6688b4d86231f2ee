"""The loop: ask, step, tell, with budget, progress, checkpoints and resume.

The same loop by hand, without any of that:

    x0, _ = objective.reset(seed=0)
    solver.reset(objective.space, x0, seed=0)
    while objective.queries < budget:
        batch = solver.ask()
        values, terminated, truncated, info = objective.step(batch)
        solver.tell(batch, values, info)
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from zotoolkit.callbacks.base import Callback
from zotoolkit.callbacks.progress import Progress
from zotoolkit.checkpoint import check_header, has_checkpoint, load_state, save_state
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import (
    CheckpointExists,
    CheckpointMismatch,
    InvalidSetting,
    MetricsWarning,
    ObjectiveFailed,
    ResultsUnwritable,
    ZotoolkitError,
    brief,
)
from zotoolkit.interrupt import InterruptGuard
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import DenseBatch
from zotoolkit.run import Reason, Result, Run
from zotoolkit.seeding import check_seed
from zotoolkit.solvers.base import Solver
from zotoolkit.status import Status

_PATIENCE_FAILED = 100
_PATIENCE_IDLE = 1000


def minimize(
    objective: BlackBoxObjective,
    solver: Solver,
    *,
    budget: int,
    seed: int = 0,
    x0: Tensor | ArrayLike | None = None,
    target: float | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    checkpoint: str | Path | None = None,
    checkpoint_iterations: int | None = None,
    checkpoint_seconds: float = 30.0,
    resume: bool = False,
) -> Result:
    """Minimise an objective with a solver.

    Args:
        objective: What is minimised.
        solver: Who minimises it.
        budget: Queries that may be spent, never exceeded. If the objective knows no noise-free loss, the last one is
            kept for the recommended point.
        seed: Of the objective and the solver.
        x0: `(d,)` start point; by default the objective's.
        target: Stop once a query observes a loss at or below it.
        callbacks: What looks on.
        progress: Whether to show a progress bar on standard error.
        checkpoint: Folder for checkpoints; None for none. A last one is written at the end, at Ctrl-C, and when the
            objective raises.
        checkpoint_iterations: Also write one every so many iterations.
        checkpoint_seconds: Write one every so many seconds.
        resume: Continue from the folder's checkpoint, bit for bit as if the run had not stopped.

    Returns:
        The recommended point, its loss, and what they cost.

    Raises:
        InvalidSetting: If a setting is out of range.
        ObjectiveFailed: If the last 100 queries, or the whole first batch if that is larger, all came to nothing.
        CheckpointError: If there is nothing to resume, it does not fit this run, or it would be overwritten.
        ResultsUnwritable: If the checkpoint cannot be written.
        KeyboardInterrupt: At Ctrl-C, after writing a checkpoint.
        ZotoolkitError: If the objective's final metrics cannot be had; with a checkpoint, so that resume asks again.

    Warns:
        MetricsWarning: The same without a checkpoint: the result then stands without them.

    Examples:
        >>> import zotoolkit
        >>> objective = zotoolkit.from_callable(lambda x: float(((x - 1) ** 2).sum()), dim=2)
        >>> result = zotoolkit.minimize(objective, zotoolkit.make_solver("ZO/SGD-CGE-v0"), budget=300, progress=False)
        >>> result.x.round(decimals=2).tolist()
        [1.0, 1.0]
        >>> result.queries
        300
    """
    check_count(budget, "budget")
    if not isinstance(objective, BlackBoxObjective):
        raise InvalidSetting(f"objective must be a BlackBoxObjective, got {brief(objective)}; see from_callable.")
    if not isinstance(solver, Solver):
        raise InvalidSetting(f"solver must be a Solver, got {brief(solver)}; make_solver('ZO/SGD-CGE-v0') makes one.")
    if resume and checkpoint is None:
        raise InvalidSetting("resume=True needs checkpoint, the folder to resume from.")
    loop = _Loop(
        Run(objective, solver, budget),
        seed=check_seed(seed),
        target=target,
        callbacks=[*callbacks, *([Progress()] if progress else [])],
        folder=None if checkpoint is None else Path(checkpoint),
        iterations=None
        if checkpoint_iterations is None
        else check_count(checkpoint_iterations, "checkpoint_iterations"),
        seconds=check_positive(checkpoint_seconds, "checkpoint_seconds"),
    )
    loop.begin(x0, resume)
    return loop.go()


class _Loop:
    """One call of `minimize`."""

    def __init__(
        self,
        run: Run,
        *,
        seed: int,
        target: float | None,
        callbacks: list[Callback],
        folder: Path | None,
        iterations: int | None,
        seconds: float,
    ) -> None:
        self.run = run
        self.seed = seed
        self.target = target
        self.callbacks = callbacks
        self.folder = folder
        self.every_iterations = iterations
        self.every_seconds = seconds
        self.last_saved = time.monotonic()
        self.unusable = 0
        self.idle = 0
        self.ended: Reason | None = None
        # False while a batch is told: a state caught in between would be torn.
        self.whole = False
        self.guard = InterruptGuard()

    def begin(self, x0: Tensor | ArrayLike | None, resume: bool) -> None:
        """Reset objective and solver, and load the checkpoint if there is one to resume."""
        objective, solver = self.run.objective, self.run.solver
        state: dict[str, Any] | None = None
        if resume and self.folder is not None:
            state, header = load_state(self.folder)
            check_header(header, self.header(), self.folder)
        elif self.folder is not None and has_checkpoint(self.folder):
            raise CheckpointExists(
                f"{self.folder} holds the checkpoint of a run already; pass resume=True to continue it, "
                "or choose another folder."
            )
        start, _ = objective.reset(seed=self.seed, options=None if x0 is None else {"x0": x0})
        if state is not None and not torch.equal(start.cpu(), state["x0"]):
            raise CheckpointMismatch(f"the checkpoint in {self.folder} began at another x0; resume with the same one.")
        self.x0 = start
        solver.attach(objective)
        solver.reset(objective.space, start, seed=self.seed)
        # An objective without a noise-free loss is asked for the loss at the recommended point, out of the budget.
        self.reserve = 1 if self.run.budget > 1 and objective.noise_free(start[None]) is None else 0
        solver.plan(self.run.budget - self.reserve)
        if state is not None:
            self.load(state)
        self.whole = True
        if self.folder is not None:
            # At once, so that a folder that cannot be written is known before anything is spent.
            self.save()

    def go(self) -> Result:
        """Iterate until something ends the run."""
        with self.guard:
            started: list[Callback] = []
            try:
                for callback in self.callbacks:
                    callback.on_start(self.run)
                    started.append(callback)
                while self.ended is None:
                    self.ended = self.why_end() or self.iterate()
                result = self.finish()
            except BaseException:
                # Nothing is lost: whatever ends the run, the last whole iteration goes to disk.
                if self.whole:
                    self.save_or_warn()
                raise
            finally:
                for callback in started:
                    callback.on_end(self.run)
        return result

    def why_end(self) -> Reason | None:
        run = self.run
        if self.target is not None and run.best_value <= self.target:
            return Reason.TARGET_REACHED
        if run.queries >= run.budget - self.reserve:
            return Reason.BUDGET_SPENT
        if run.solver.finished:
            return Reason.SOLVER_FINISHED
        return Reason.STALLED if self.idle >= _PATIENCE_IDLE else None

    def iterate(self) -> Reason | None:
        """Ask, step and tell once; return why the run ends, if it does."""
        run = self.run
        begun = time.perf_counter()
        batch = run.solver.ask()
        with self.guard.interruptible(), run.objective.allowing(run.budget - self.reserve - run.queries):
            values, terminated, truncated, info = run.objective.step(batch)
        self.whole = False
        run.figures = run.solver.tell(batch, values, info)
        usable = run.observe(batch, values, info)
        run.iteration = run.solver.iteration
        self.whole = True
        run.seconds += time.perf_counter() - begun
        self.idle = 0 if info["queries"] else self.idle + 1
        self.check_failures(usable)
        stopped = [callback.on_iteration(run) for callback in self.callbacks]
        if self.save_due():
            self.save_or_warn()
        self.guard.checkpoint()
        if terminated:
            return Reason.TARGET_REACHED
        if truncated:
            return Reason.BUDGET_SPENT
        return Reason.STOPPED if any(stopped) else None

    def check_failures(self, usable: int) -> None:
        """Give up when nothing comes back any more.

        Raises:
            ObjectiveFailed: Then, with the last message.
        """
        info = self.run.info
        asked = 0 if info is None else int((info["status"] != Status.SKIPPED).sum())
        self.unusable = 0 if usable else self.unusable + asked
        if info is None or self.unusable < _PATIENCE_FAILED:
            return
        said = next(iter(info["errors"].values()), "every loss was NaN or infinite")
        raise ObjectiveFailed(
            f"the last {self.unusable} queries all failed, the last one with: {said}. Mend the objective, or start "
            "where it has a finite loss (x0)."
        )

    def finish(self) -> Result:
        """Find the loss at the recommended point and write the last checkpoint."""
        run, reason = self.run, self.ended or Reason.STOPPED
        x = run.solver.recommend()
        self.save_or_warn()
        with self.guard.interruptible():
            exact = run.objective.noise_free(x[None])
        if exact is not None:
            value = float(exact[0])
        elif run.best_x is not None and torch.equal(x, run.best_x):
            value = run.best_value
        elif run.queries < run.budget:
            batch = DenseBatch.at(x[None], context=run.iteration)
            with self.guard.interruptible(), run.objective.allowing(run.budget - run.queries):
                values, _, _, info = run.objective.step(batch)
            run.observe(batch, values, info)
            value = float(values[0])
        else:
            value = float("nan")
        # Last, so that an objective with a budget of its own has that query behind it when it measures for good.
        with self.guard.interruptible():
            metrics = {**run.objective.metrics(x), **self.final_metrics(x)}
        return Result(
            x=x,
            value=value,
            best_x=run.best_x,
            best_value=run.best_value,
            queries=run.queries,
            iterations=run.iteration,
            seconds=run.seconds,
            costs=dict(run.costs),
            reason=reason,
            metrics=metrics,
        )

    def final_metrics(self, x: Tensor) -> dict[str, float]:
        """Ask for what is measured once; where that fails the point found is not lost with it.

        Raises:
            ZotoolkitError: If it fails and there is a checkpoint, from which the run can be ended again.
        """
        try:
            return self.run.objective.final_metrics(x)
        except ZotoolkitError as error:
            if self.folder is not None:
                raise
            warnings.warn(f"the final metrics could not be had: {error}", MetricsWarning, stacklevel=5)
            return {}

    def header(self) -> dict[str, Any]:
        """Say which run this is; a checkpoint with another header is not resumed."""
        objective, solver = self.run.objective, self.run.solver
        names = {
            part: {"id": type(thing).__name__ if thing.spec is None else thing.spec.id, "settings": _settings(thing)}
            for part, thing in (("problem", objective), ("solver", solver))
        }
        return {
            "problem": names["problem"]["id"],
            "problem settings": names["problem"]["settings"],
            "solver": names["solver"]["id"],
            "solver settings": names["solver"]["settings"],
            "dimension": objective.dim,
            "seed": self.seed,
        }

    def save_due(self) -> bool:
        if self.folder is None:
            return False
        by_count = self.every_iterations is not None and self.run.iteration % self.every_iterations == 0
        return by_count or time.monotonic() - self.last_saved >= self.every_seconds

    def save(self) -> None:
        """Write a checkpoint of the last whole iteration."""
        if self.folder is None:
            return
        state = {
            "x0": self.x0,
            "run": self.run.state_dict(),
            "solver": self.run.solver.state_dict(),
            "objective": self.run.objective.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.callbacks if not isinstance(callback, Progress)],
        }
        save_state(self.folder, state, self.header())
        self.last_saved = time.monotonic()

    def save_or_warn(self) -> None:
        """Write a checkpoint; a disk that filled up in the middle of a run costs the checkpoint, not the run."""
        try:
            self.save()
        except ResultsUnwritable as error:
            warnings.warn(str(error), stacklevel=4)
            self.last_saved = time.monotonic()

    def load(self, state: dict[str, Any]) -> None:
        mine = [callback for callback in self.callbacks if not isinstance(callback, Progress)]
        if len(mine) != len(state["callbacks"]):
            raise CheckpointMismatch(
                f"the checkpoint in {self.folder} was written with {len(state['callbacks'])} callbacks, this run has "
                f"{len(mine)}; resume with the same ones."
            )
        self.run.load_state_dict(state["run"])
        self.run.solver.load_state_dict(state["solver"])
        self.run.objective.load_state_dict(state["objective"])
        for callback, saved in zip(mine, state["callbacks"], strict=True):
            callback.load_state_dict(saved)


def _settings(thing: BlackBoxObjective | Solver) -> dict[str, str]:
    """Return the settings that the registry made something with, as texts that are the same in every process."""
    settings = {} if thing.spec is None else thing.spec.kwargs
    return {
        name: repr(value)
        if isinstance(value, (bool, int, float, str, list, tuple, type(None)))
        else type(value).__name__
        for name, value in sorted(settings.items())
    }
