"""Correcting OpenFOAM's icoFoam, which runs in its own process and can only be asked to step.

Lid-driven cavities of 16 x 16 cells with first-order upwinding, 0.1 units of time a step; the reference is icoFoam on
64 x 64 cells at order 2, averaged. Training on four speeds of the lid (Reynolds numbers 600 to 1200), rates chosen on
two others, test on three that neither saw; all from two units of time after rest.

The corrector has twelve parameters: anti-diffusion and near-wall terms. SRC is icoFoam alone; NON is fitted to single
steps; ZO-SOL descends on trajectories unrolled over eight steps by queries alone, from where NON ended unless the row
says otherwise, by coordinate-wise (CGE) or random (RGE) differences at about equal queries.

Errors are mean absolute ones of the velocity over the first so many steps of a trajectory, in units of a lid's speed of
1. State-steps are states advanced by icoFoam by one step (two of its time steps) during training; a case holds all
states of a step as copies of the mesh. CPU seconds count icoFoam's processes.
"""

from __future__ import annotations

import functools
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cells import mean
from experiment import Experiment, Options, Results, Table, Task, main
from training import Deadline, ProcessorTime, family_seconds
from typing_extensions import override

import zotoolkit
from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.correctors.near_wall import NearWallCorrector
from problems.pde.measuring import Measures
from problems.pde.references import References
from problems.pde.references.cavity import cavity_references
from problems.pde.simulators.external import IcoFoam
from zotoolkit.checkpoint import has_checkpoint, load_state, save_state

TUNING_SEED = 100
_NON, _SOL = "PDE/NON-v0", "PDE/ZO-SOL-v0"
_UNLIMITED = 10**9  # all solvers here end by themselves


@dataclass(frozen=True)
class Way:
    """How the corrector is trained.

    Attributes:
        name: What tables call it.
        short: In the names of runs.
        solver: Id of a registered solver.
        settings: Of the solver, beside its rate.
        start: Short name of the way whose end is this one's start; empty for all parameters 0.
        rated_by: Short name of the way whose rate this one takes; its own if empty.
    """

    name: str
    short: str
    solver: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    rated_by: str = ""


SRC = Way("SRC", "src", "PDE/SRC-v0")
NON = Way("NON", "non", _NON)
CGE = Way("ZO-SOL, CGE", "cge", _SOL, start="non")
FROM_ZERO = Way("ZO-SOL, CGE, without NON", "cge-from-zero", _SOL, rated_by="cge")
RGE = Way("ZO-SOL, RGE q = 12", "rge", _SOL, {"estimator": "rge", "q": 12}, start="non")
WAYS = (SRC, NON, CGE, FROM_ZERO, RGE)


@dataclass(frozen=True)
class Size:
    """A setting.

    Attributes:
        flow: Settings of the coarse `IcoFoam`.
        references: Settings of `cavity_references`.
        seeds: Of the runs: which windows come when.
        windows: Stretches a query, by solver.
        unroll: Steps, by solver.
        iterations: By solver.
        rates: That are tried, by the way's short name.
        steps: Of the figures; the second chooses rates.
    """

    flow: Mapping[str, Any]
    references: Mapping[str, Any]
    seeds: Sequence[int]
    windows: Mapping[str, int]
    unroll: Mapping[str, int]
    iterations: Mapping[str, int]
    rates: Mapping[str, Sequence[float]]
    steps: tuple[int, int, int]


SIZES = {
    "quick": Size(
        flow={"cells": 4},
        references={"factor": 2, "spin_up": 2, "frames": 7},
        seeds=(0,),
        windows={_NON: 2, _SOL: 2},
        unroll={_NON: 1, _SOL: 2},
        iterations={_NON: 2, _SOL: 2},
        rates={"non": (3e-3,), "cge": (3e-3, 1e-2), "rge": (1e-3,)},
        steps=(2, 3, 5),
    ),
    "small": Size(
        flow={},
        references={},
        seeds=(0, 1, 2),
        windows={_NON: 16, _SOL: 4},
        unroll={_NON: 1, _SOL: 8},
        iterations={_NON: 300, _SOL: 60},
        rates={"non": (1e-3, 3e-3, 1e-2), "cge": (1e-3, 3e-3, 1e-2, 3e-2), "rge": (1e-3, 3e-3, 1e-2, 3e-2)},
        steps=(10, 30, 40),
    ),
}


@dataclass(frozen=True)
class Run(Task):
    """One training run.

    Attributes:
        name: As in `Task`.
        way: How.
        size: Of `SIZES`.
        seed: Of windows and directions.
        rate: Of the solver; None where it has none.
        start: Name of the run that ended where this one starts; empty for all parameters 0.
        tuning: Whether it chooses a rate: then the test trajectories are not looked at.
    """

    name: str
    way: Way
    size: str
    seed: int
    rate: float | None = None
    start: str = ""
    tuning: bool = False

    @property
    def setting(self) -> Size:
        """All that runs share."""
        return SIZES[self.size]

    @override
    def description(self) -> dict[str, Any]:
        own = {key: value for key, value in asdict(self).items() if key not in ("name", "way")}
        setting, solver = self.setting, self.way.solver
        shared = {"flow": dict(setting.flow), "references": dict(setting.references), "steps": list(setting.steps)}
        chosen = {name: getattr(setting, name).get(solver) for name in ("windows", "unroll", "iterations")}
        return {**own, "method": self.way.name, "solver": solver, "settings": self._settings(), **shared, **chosen}

    def _settings(self) -> dict[str, Any]:
        if self.rate is None:
            return dict(self.way.settings)
        return {**self.way.settings, "lr": self.rate, "iterations": self.setting.iterations[self.way.solver]}

    @override
    def run(self, home: Path, options: Options) -> dict[str, Any]:
        setting, solver = self.setting, self.way.solver
        measures = _ValidationOnly if self.tuning else Measures
        objective = CorrectSimulator(
            IcoFoam(**setting.flow),
            _references(self.size),
            NearWallCorrector,
            windows=setting.windows.get(solver, 1),
            unroll=setting.unroll.get(solver, 1),
            evaluation_windows=0,
            measures=measures(steps=setting.steps, validation_steps=setting.steps[1]),
            name="icoFoam",
        )
        start = load_state(home.parent / self.start / "trained")[0]["x"] if self.start else None
        clock = ProcessorTime(family_seconds)
        with objective:
            result = zotoolkit.minimize(
                objective,
                zotoolkit.make_solver(solver, **self._settings()),
                budget=_UNLIMITED,
                seed=self.seed,
                x0=start,
                callbacks=[clock, Deadline(options)],
                progress=False,
                checkpoint=home,
                resume=has_checkpoint(home),
            )
            metrics = {**objective.metrics(result.x), **objective.final_metrics(result.x)}
        save_state(home / "trained", {"x": result.x}, {})
        return {
            "dimension": objective.dim,
            "queries": result.queries,
            "state_steps": int(result.costs.get("state_steps", 0)),
            "cpu_seconds": clock.seconds,
            "wall_seconds": result.seconds,
            "metrics": metrics,
            "x": [float(value) for value in result.x],
        }


class _ValidationOnly(Measures):
    """Leaves the test trajectories alone."""

    @override
    def final(self, objective: CorrectSimulator, x: Any) -> dict[str, float]:
        return {}


@functools.lru_cache(maxsize=1)
def _references(size: str) -> References:
    setting = SIZES[size]
    return cavity_references(IcoFoam(**setting.flow), **setting.references)


def plan(size: str, results: Results) -> list[Task]:
    """Rates are tried in the order of the ways, since one starts where another ends; then the runs."""
    setting = SIZES[size]
    tasks: list[Run] = []
    for way in (NON, CGE, RGE):
        tried = [_run(size, way, TUNING_SEED, rate, results) for rate in setting.rates[way.short]]
        tasks.extend(tried)
        if any(task.name not in results for task in tried):
            return list(tasks)
    tasks.append(Run(SRC.short, SRC, size, 0))
    tasks.extend(
        _run(size, way, seed, _best(size, way.rated_by or way.short, results), results)
        for seed in setting.seeds
        for way in WAYS
        if way is not SRC
    )
    return list(tasks)


def _run(size: str, way: Way, seed: int, rate: float, results: Results) -> Run:
    tuning = seed == TUNING_SEED
    start = ""
    if way.start:
        start = _tuning(way.start, _best(size, way.start, results)) if tuning else f"{way.start}-seed{seed}"
    name = _tuning(way.short, rate) if tuning else f"{way.short}-seed{seed}"
    return Run(name, way, size, seed, rate, start, tuning)


def _tuning(short: str, rate: float) -> str:
    return f"tuning-{short}-{rate:g}"


def _best(size: str, short: str, results: Results) -> float:
    """Return the rate with the least error on the validation trajectories."""
    steps = SIZES[size].steps[1]
    return min(
        SIZES[size].rates[short],
        key=lambda rate: results[_tuning(short, rate)]["metrics"][f"validation_mae_{steps}"],
    )


def tables(size: str, results: Results) -> list[Table]:
    """What was reached, then the rates that were tried."""
    setting = SIZES[size]
    short, middle, long = setting.steps
    columns = ("", "seeds", f"validation, {middle} steps", *(f"test, {n} steps" for n in setting.steps))
    columns = (*columns, f"of SRC, {middle} steps", "queries", "state-steps", "CPU s (wall)")
    rows = []
    for way in WAYS:
        names = [way.short] if way is SRC else [f"{way.short}-seed{seed}" for seed in setting.seeds]
        runs = [results[name] for name in names if name in results]
        if runs:
            figures = [_spread(runs, f"validation_mae_{middle}")]
            figures += [_spread(runs, f"test_mae_{steps}") for steps in (short, middle, long)]
            figures.append(f"{mean(run['metrics'][f'of_uncorrected_{middle}'] for run in runs):.2f}")
            seconds = f"{mean(run['cpu_seconds'] for run in runs):.0f}"
            seconds += f" ({mean(run['wall_seconds'] for run in runs):.0f})"
            costs = [f"{runs[0]['queries']:,}", f"{runs[0]['state_steps']:,}", seconds]
            costs = ["-"] * 3 if way is SRC else costs
            rows.append((way.name, str(len(runs)), *figures, *costs))
    tried = [
        (way.name, f"{rate:g}", f"{results[name]['metrics'][f'validation_mae_{middle}']:.4f}")
        for way in (NON, CGE, RGE)
        for rate in setting.rates[way.short]
        if (name := _tuning(way.short, rate)) in results
    ]
    found = [
        Table("Mean absolute error of the velocity; state-steps, CPU and wall seconds of a training run", columns, rows)
    ]
    found.append(Table(f"Rates tried, seed {TUNING_SEED}", ("", "rate", f"validation, {middle} steps"), tried))
    return [table for table in found if table.rows]


def _spread(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [run["metrics"][name] for run in runs]
    middle = f"{mean(values):.4f}"
    return f"{middle} ± {statistics.stdev(values):.4f}" if len(values) > 1 else middle


EXPERIMENT = Experiment(
    "icofoam",
    __doc__ or "",
    plan,
    tables,
    paper="Um et al., Solver-in-the-Loop, NeurIPS 2020; Chen et al., DeepZero, ICLR 2024 (other flows, other solvers)",
    data="lid-driven cavities",
    sizes=("quick", "small"),
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
