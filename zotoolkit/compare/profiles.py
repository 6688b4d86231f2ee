"""Data and performance profiles: which share of the problems a solver has solved after how much work.

A solver has solved an instance (a problem with one seed) to accuracy tau once

    f(x0) - f(x) >= (1 - tau) [f(x0) - f_L],

with f_L the lowest loss that any of the compared solvers reached on it (reference lines left out).

Source: Moré and Wild, Benchmarking derivative-free optimization algorithms, SIAM J. Optimization 20(1), 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zotoolkit.compare.statistics import objective_column
from zotoolkit.compare.store import keep, numbers, select


@dataclass(frozen=True)
class Profile:
    """A solver's profile.

    Attributes:
        x: `(g,)` groups of d + 1 queries (data profile), or multiples of the quickest solver's queries (performance
            profile).
        share: `(g,)` share of the instances solved within x.
    """

    x: np.ndarray
    share: np.ndarray


def queries_to_solve(frame: pd.DataFrame, solvers: Sequence[str], tau: float) -> pd.DataFrame:
    """Return how many queries every solver needed on every instance.

    Args:
        frame: A results table.
        solvers: Who is compared; f_L is the lowest loss among them.
        tau: Accuracy in (0, 1); smaller is harder.

    Returns:
        Indexed by (problem, seed), a column a solver; infinite where it did not solve the instance. An instance where
        nobody improved on the start is left out.
    """
    needed: dict[tuple[str, int], dict[str, float]] = {}
    for problem, of_problem in keep(frame, frame["solver"].isin(list(solvers))).groupby("problem", sort=False):
        column = objective_column(of_problem)
        for seed, instance in of_problem.groupby("seed"):
            goal = _goal(instance, column, tau)
            if goal is None:
                continue
            row = {}
            for solver in solvers:
                run = select(instance, solver=solver)
                solved = numbers(run, "queries")[numbers(run, column) <= goal]
                row[solver] = max(1.0, float(solved.min())) if len(solved) else np.inf
            needed[str(problem), int(seed)] = row  # pyright: ignore[reportArgumentType]
    index = pd.MultiIndex.from_tuples(list(needed), names=["problem", "seed"]) if needed else None
    return pd.DataFrame(list(needed.values()), index=index, columns=list(solvers))


def data_profiles(needed: pd.DataFrame, dimensions: Mapping[str, int]) -> dict[str, Profile]:
    """Return data profiles: share solved against queries / (d + 1), the number of simplex gradients.

    Args:
        needed: What `queries_to_solve` returned.
        dimensions: Of every problem, by label.
    """
    sizes = np.array([dimensions[problem] + 1 for problem in needed.index.get_level_values("problem")], dtype=float)
    return _profiles(needed.div(sizes, axis=0))


def performance_profiles(needed: pd.DataFrame) -> dict[str, Profile]:
    """Return performance profiles: share solved against the multiple of the quickest solver's queries."""
    return _profiles(needed.div(needed.min(axis=1), axis=0))


def _goal(instance: pd.DataFrame, column: str, tau: float) -> float | None:
    """Return the loss at which an instance counts as solved."""
    known = keep(instance, ~np.isnan(numbers(instance, column))).sort_values(by="queries", kind="stable")
    if not len(known):
        return None
    # At x0 all agree; where the loss there is not known, the middle one of the first observed losses stands for it.
    start = float(np.median(numbers(known.groupby("solver").head(1), column)))
    lowest = float(numbers(known, column).min())
    if not (np.isfinite(start) and np.isfinite(lowest)) or lowest >= start:
        return None
    return start - (1 - tau) * (start - lowest)


def _profiles(work: pd.DataFrame) -> dict[str, Profile]:
    finite = work.to_numpy(float)
    finite = finite[np.isfinite(finite)]
    x = np.unique(finite) if len(finite) else np.array([1.0])
    shares = {
        str(solver): np.searchsorted(np.sort(values.to_numpy(float)), x, side="right") / max(1, len(values))
        for solver, values in work.items()
    }
    return {solver: Profile(x, share) for solver, share in shares.items()}
