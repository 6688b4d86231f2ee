"""A corrector as a task: trained in one mode on a PDE problem, rolled out on test data; and tables of modes.

Rates are chosen on the validation split with a seed of its own, test data choose nothing. Modes without a rate of
their own take that of another one, whose gradient theirs estimates.
"""

from __future__ import annotations

import inspect
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from cells import mean
from experiment import Experiment, Options, Results, Table, Task
from training import Deadline, ProcessorTime
from typing_extensions import override

import zotoolkit
from problems.pde import CorrectSimulator
from problems.pde.measures import absolute_errors, relative_errors
from problems.pde.pictures import draw_errors
from zotoolkit.checkpoint import has_checkpoint

TUNING_SEED = 100
_PLENTY = 10**9


@dataclass(frozen=True)
class Mode:
    """One way to train.

    Attributes:
        name: What tables call it.
        short: In the names of runs.
        solver: Id of a registered solver; None for the simulator alone.
        settings: Of the solver.
        rates: That are tried; empty where the rate is that of `rate_of`.
        rate_of: The short name of the mode whose rate it takes.
    """

    name: str
    short: str
    solver: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    rates: Sequence[float] = ()
    rate_of: str = ""


@dataclass(frozen=True)
class Cell(Task):
    """One corrector of one seed.

    Attributes:
        name: As in `Task`.
        problem: Id of a registered problem.
        problem_settings: Of the problem.
        mode: How it is trained.
        seed: Of network, windows and directions.
        tuning: Whether the validation split is measured and nothing else.
    """

    name: str
    problem: str
    problem_settings: Mapping[str, Any]
    mode: Mode
    seed: int
    tuning: bool = False

    @override
    def description(self) -> dict[str, Any]:
        defaults = {} if self.mode.solver is None else _defaults(zotoolkit.solver_spec(self.mode.solver).load())
        return {
            "problem": self.problem,
            "problem_settings": dict(self.problem_settings),
            "solver": self.mode.solver,
            "settings": {**defaults, **self.mode.settings},
            "seed": self.seed,
            "tuning": self.tuning,
        }

    @override
    def run(self, home: Path, options: Options) -> dict[str, Any]:
        options.check_time()
        made = zotoolkit.make(self.problem, **{**self.problem_settings, "device": options.device})
        objective = made.unwrapped
        if not isinstance(objective, CorrectSimulator):
            raise TypeError(f"{self.problem} corrects no simulator")
        objective.measures = replace(objective.measures, baseline=False)
        if self.mode.solver is None:
            objective.reset(seed=self.seed)
            return {"queries": 0, "state_steps": 0, "cpu_seconds": 0.0} | _figures(objective, None)
        clock = ProcessorTime()
        result = zotoolkit.minimize(
            objective,
            zotoolkit.make_solver(self.mode.solver, **self.mode.settings),
            budget=_PLENTY,
            seed=self.seed,
            callbacks=[clock, Deadline(options)],
            progress=sys.stderr.isatty(),
            checkpoint=home,
            resume=has_checkpoint(home),
        )
        found = {
            "dimension": objective.dim,
            "iterations": self.mode.settings.get("iterations"),
            "queries": result.queries,
            "state_steps": int(result.costs["state_steps"]),
            "cpu_seconds": clock.seconds,
            "validation": next(iter(objective.metrics(result.x).values())),
        }
        return found if self.tuning else found | _figures(objective, result.x)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _figures(objective: CorrectSimulator, x: torch.Tensor | None) -> dict[str, Any]:
    """Return both figures over all test steps, averaged over trajectories, and how many of these blew up."""
    split, steps = objective.references.test, max(objective.measures.steps)
    predicted = objective.corrected(x, split, steps)
    true = split.states[:, : steps + 1].movedim(1, 0)
    where = objective.references.where
    absolute, relative = absolute_errors(predicted, true, where), relative_errors(predicted, true, where)
    return {
        "test_mae": [_kept(value) for value in absolute.mean(1).tolist()],
        "test_relative_l2": [_kept(value) for value in relative.mean(1).tolist()],
        "test_relative_l2_median": [_kept(v) for v in relative.quantile(0.5, 1, interpolation="higher").tolist()],
        "test_trajectories": len(split),
        "test_blown_up": int((~torch.isfinite(absolute[-1])).sum()),
    }


def _kept(value: float) -> float | None:
    """Return a figure as JSON can hold it; None where it is infinite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


@dataclass(frozen=True)
class Setting:
    """A comparison of modes on one problem.

    Attributes:
        problem: Id.
        problem_settings: Of it.
        modes: In the order of tables.
        seeds: Of the runs.
        figure: "mae", averaged over the first n steps, or "relative_l2", at step n.
        steps: n of the table's columns.
        tuning: Solver settings while rates are tried.
    """

    problem: str
    modes: Sequence[Mode]
    seeds: Sequence[int]
    figure: str
    steps: Sequence[int]
    problem_settings: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)


def shortened(modes: Sequence[Mode], iterations: int) -> tuple[Mode, ...]:
    """Return the same modes with so many iterations, to see that they run."""
    return tuple(
        mode if mode.solver is None else replace(mode, settings={**mode.settings, "iterations": iterations})
        for mode in modes
    )


def plan(setting: Setting, results: Results) -> list[Task]:
    """Rates first, then the first seed of all modes, then the others."""
    tuning = [task for mode in setting.modes for task in _tuning(setting, mode)]
    if any(task.name not in results for task in tuning):
        return list(tuning)
    modes = [rated(setting, mode, results) for mode in setting.modes]
    cells = [
        Cell(_name(mode, seed), setting.problem, setting.problem_settings, mode, seed)
        for seed in setting.seeds
        for mode in modes
        if mode.solver is not None or seed == setting.seeds[0]
    ]
    return [*tuning, *cells]


def _name(mode: Mode, seed: int) -> str:
    return f"{mode.short}-seed{seed}"


def _tuning(setting: Setting, mode: Mode) -> list[Cell]:
    return [
        Cell(
            f"tuning-{mode.short}-{rate:g}",
            setting.problem,
            setting.problem_settings,
            replace(mode, settings={**mode.settings, **setting.tuning, "lr": rate}),
            TUNING_SEED,
            tuning=True,
        )
        for rate in mode.rates
    ]


def rated(setting: Setting, mode: Mode, results: Results) -> Mode:
    """Return a mode with the rate whose corrector is best on the validation split."""
    if mode.solver is None:
        return mode
    source = mode if mode.rates else next(other for other in setting.modes if other.short == mode.rate_of)
    best = min(_tuning(setting, source), key=lambda task: _or_infinite(results[task.name]["validation"]))
    return replace(mode, settings={**mode.settings, "lr": best.mode.settings["lr"]})


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else value


def tables(setting: Setting, results: Results) -> list[Table]:
    """The modes by their error, then the rates that were tried."""
    figure = "MAE over the first" if setting.figure == "mae" else "relative L2 at step"
    middle = setting.steps[min(1, len(setting.steps) - 1)]
    columns = ["mode", "seeds", *(f"{figure} {n}" for n in setting.steps), f"of SRC ({middle})", "queries"]
    alone = [
        results[name] for m in setting.modes if m.solver is None and (name := _name(m, setting.seeds[0])) in results
    ]
    rows = []
    for mode in setting.modes:
        runs = [results[name] for seed in setting.seeds if (name := _name(mode, seed)) in results]
        if runs:
            rows.append(_row(setting, mode, runs, alone[0] if alone else None))
    tried = [
        (mode.name, f"{rate:g}", f"{_or_infinite(results[task.name]['validation']):.4f}")
        for mode in setting.modes
        for rate, task in zip(mode.rates, _tuning(setting, mode), strict=True)
        if task.name in results
    ]
    found = [
        Table(f"{setting.problem}, test split", [*columns, "state-steps", "CPU s"], rows),
        Table(f"Rates tried: validation split, seed {TUNING_SEED}", ("mode", "rate", "validation error"), tried),
    ]
    return [table for table in found if table.rows]


def at(run: Mapping[str, Any], figure: str, steps: int) -> float:
    """Return a run's figure at n steps; infinite if a trajectory blew up."""
    values = [_or_infinite(value) for value in run[f"test_{figure}"][1 : steps + 1]]
    return mean(values) if figure == "mae" else values[-1]


def _row(setting: Setting, mode: Mode, runs: Sequence[Mapping[str, Any]], alone: Mapping[str, Any] | None) -> list[str]:
    cells = [_cell(setting.figure, runs, steps) for steps in setting.steps]
    middle = setting.steps[min(1, len(setting.steps) - 1)]
    share = "-"
    if alone is not None:
        # Of chaotic trajectories by their medians, which one that blew up does not decide.
        figure = setting.figure if setting.figure == "mae" else f"{setting.figure}_median"
        shares = [at(run, figure, middle) / at(alone, figure, middle) for run in runs]
        share = _spread(shares)
    blown_up = sum(run["test_blown_up"] for run in runs)
    name = mode.name
    if blown_up:
        name += f" ({blown_up} of {sum(run['test_trajectories'] for run in runs)} blew up)"
    return [
        name,
        "-" if mode.solver is None else str(len(runs)),
        *cells,
        share,
        f"{runs[0]['queries']:,}",
        f"{runs[0]['state_steps']:,}",
        f"{mean(run['cpu_seconds'] for run in runs):.0f}",
    ]


def _cell(figure: str, runs: Sequence[Mapping[str, Any]], steps: int) -> str:
    """Return the figure, and where it is infinite the median over trajectories besides."""
    values = [at(run, figure, steps) for run in runs]
    if math.isfinite(mean(values)) or figure == "mae":
        return _spread(values)
    return f"inf, median {_spread([at(run, f'{figure}_median', steps) for run in runs])}"


def _spread(values: Sequence[float]) -> str:
    """Return the mean and, of several seeds, their standard deviation."""
    middle = f"{mean(values):.4f}" if mean(values) < 10 else f"{mean(values):.3g}"
    return f"{middle} ± {statistics.stdev(values):.4f}" if len(values) > 1 and math.isfinite(mean(values)) else middle


def comparison(name: str, about: str, settings: Mapping[str, Setting], dt: float, title: str) -> Experiment:
    """Return the experiment that compares modes in these settings, by size.

    Args:
        name: Of the result files.
        about: For --help.
        settings: By size.
        dt: Time of a step.
        title: Of the picture.
    """
    return Experiment(
        name,
        about,
        lambda size, results: plan(settings[size], results),
        lambda size, results: tables(settings[size], results),
        lambda size, results: draw(settings[size], results, dt, title),
        paper="Um et al., Solver-in-the-Loop, NeurIPS 2020",
        data="made by the fine solver",
        sizes=tuple(settings),
    )


def draw(setting: Setting, results: Results, dt: float, title: str) -> bytes:
    """Return the error over time, by mode, with a band over seeds."""
    lines: dict[str, torch.Tensor] = {}
    for mode in setting.modes:
        runs = [results[name] for seed in setting.seeds if (name := _name(mode, seed)) in results]
        if runs:
            lines[mode.name] = torch.tensor([[_or_infinite(v) for v in run[f"test_{setting.figure}"]] for run in runs])
    what = "mean absolute error" if setting.figure == "mae" else "relative L2 error"
    alone = [mode.name for mode in setting.modes if mode.solver is None]
    return draw_errors(lines, dt, what=what, baselines=alone, title=title)
