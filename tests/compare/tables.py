"""Results made up for the tests of statistics, figures and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zotoolkit import files
from zotoolkit.compare import grid, runner, store
from zotoolkit.compare.specification import Comparison, Entry

SOLVERS = (
    Entry("ZO/SGD-CGE-v0", {"lr": 0.1}, "CGE"),
    Entry("ZO/SPSA-v0", {}, "SPSA"),
    Entry("Search/Random-v0", {}, "<Random> & more"),
    Entry("Reference/SGD-v0", {}, "First-order"),
)
PROBLEMS = (Entry("Toy/A-v0", {"dim": 10}, "Problem A"), Entry("Toy/B-v0", {}, "Problem B"))
RATES = (0.5, 0.3, 0.1, 0.9)


def curve(rate: float, budget: int, offset: float, metric: bool) -> list[dict[str, Any]]:
    queries = np.unique(np.concatenate(([0], 10 ** np.arange(0, np.log10(budget) + 1e-9, 0.05)))).astype(int)
    return [
        {
            "queries": int(q),
            "forward_equivalents": float(q),
            "seconds": q * 1e-3,
            "observed_best": np.nan if q == 0 else 90 * (q + 1) ** -rate + offset,
            "noise_free_best": 100 * (q + 1) ** -rate + offset,
            **({"metric.test_accuracy": 1 - (q + 1) ** -rate} if metric else {}),
        }
        for q in np.unique(queries)
    ]


def write_comparison(folder: Path, seeds: int = 7, problems: int = 2) -> Comparison:
    """Write a folder as `zotoolkit compare` leaves it: one cell failed, one unfinished, the others finished."""
    comparison = Comparison(PROBLEMS[:problems], SOLVERS, 1000, tuple(range(seeds)), title="Made up <here>")
    random = np.random.default_rng(0)
    for place in grid.places(comparison, folder):
        cell = place.cell
        i = [entry.label for entry in SOLVERS].index(cell.solver.label)
        rate = RATES[i] * float(np.exp(0.1 * random.standard_normal()))
        if (cell.problem.label, cell.solver.label, cell.seed) == ("Problem A", "SPSA", 1):
            failure = {"kind": "ValueError", "message": "lr is <b>too large</b>", "details": "Traceback\nValueError"}
            files.write_json(place.folder / grid.ERROR_FILE, failure)
            continue
        if (cell.problem.label, cell.solver.label, cell.seed) == ("Problem A", "SPSA", 2):
            continue
        rows = curve(rate, 100 if i == 3 else 1000, 0.0, cell.problem.label == "Problem B")
        store.write_curve(place.folder, rows, cell.problem.label, cell.solver.label, cell.seed)
        store.write_result(place.folder, {"queries": rows[-1]["queries"], "value": rows[-1]["noise_free_best"]})
    header = {
        "format": 1,
        "comparison": comparison.to_dict(),
        "problems": {"Problem A": {"dimension": 10}, "Problem B": {"dimension": 4}},
        "solver settings": {"CGE": {"lr": "0.1", "mu": "0.005"}},
        "environment": {"processor": "a fast one", "cores": 2, "versions": {"zotoolkit": "0.1.0", "torch": "2.13.0"}},
        "command": "zotoolkit compare --out somewhere",
        "date": "2026-11-21 12:00:00 +0000",
    }
    files.write_json(folder / runner.COMPARISON_FILE, header)
    return comparison


def frame(values: dict[str, list[float]], problem: str = "P", start: float = 10.0) -> pd.DataFrame:
    """Return a table of runs that end at given losses: a list entry a seed, two rows a run."""
    rows = []
    for solver, ends in values.items():
        for seed, end in enumerate(ends):
            for queries, value in ((0, start), (100, end)):
                rows.append(
                    {
                        "problem": problem,
                        "solver": solver,
                        "seed": seed,
                        "queries": queries,
                        "forward_equivalents": float(queries),
                        "seconds": queries * 1e-2,
                        "observed_best": value,
                        "noise_free_best": value,
                    }
                )
    return pd.DataFrame(rows)
