"""Anytime curves over seeds, final values with intervals, ranks and paired comparisons.

Everything here is a pure function of a results table (see `zotoolkit.compare.store`), random draws included: bootstrap
resamples are seeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zotoolkit.compare.store import keep, metric_columns, numbers, select
from zotoolkit.errors import InvalidSetting

LEVEL = 0.95
RESAMPLES = 2000
FEWEST_SEEDS_FOR_TESTS = 6
"""Below this many paired seeds no two-sided signed-rank test can reach p < 0.05, whatever the data."""


@dataclass(frozen=True)
class Band:
    """A curve over seeds.

    Attributes:
        grid: `(g,)` queries or seconds.
        middle: `(g,)` median over seeds.
        low: `(g,)` lower end of the median's bootstrap interval.
        high: `(g,)` its upper end.
        seeds: How many curves it is made of.
    """

    grid: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int


@dataclass(frozen=True)
class Interval:
    """A median over seeds and the bootstrap interval of that median."""

    middle: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Pairing:
    """How one solver fared against another on the seeds that both finished.

    Attributes:
        better: Seeds on which the first had the lower loss.
        equal: Seeds on which they tied.
        worse: Seeds on which it had the higher loss.
        p: Two-sided Wilcoxon signed-rank p-value, Holm-adjusted within its family; None with too few seeds to say.
    """

    better: int
    equal: int
    worse: int
    p: float | None


def objective_column(frame: pd.DataFrame) -> str:
    """Return the column to compare a problem's solvers by.

    "noise_free_best" where every run of the problem has it, else "observed_best": the two must not be mixed.
    """
    return (
        "noise_free_best" if len(frame) and not np.isnan(numbers(frame, "noise_free_best")).any() else "observed_best"
    )


def forwards_differ(frame: pd.DataFrame) -> bool:
    """Whether forward equivalents say something that queries do not."""
    queries, forwards = numbers(frame, "queries"), numbers(frame, "forward_equivalents")
    return bool((np.abs(forwards - queries) > 0.05 * np.maximum(queries, 1)).any()) and bool((forwards > 0).any())


def step_values(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Read a curve off on a grid as a step function: what was known at or before each place.

    Args:
        x: `(n,)` ascending queries or seconds.
        y: `(n,)` values there.
        grid: `(g,)` places.

    Returns:
        `(g,)` values; NaN before the first point, the last value after the end.

    Examples:
        >>> step_values(np.array([1.0, 10.0]), np.array([5.0, 2.0]), np.array([0.5, 1.0, 9.9, 10.0, 99.0])).tolist()
        [nan, 5.0, 5.0, 2.0, 2.0]
    """
    at = np.searchsorted(x, grid, side="right") - 1
    return np.where(at >= 0, np.asarray(y, dtype=float)[np.maximum(at, 0)], np.nan)


def bootstrap_median(
    values: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile-bootstrap interval of the median over seeds.

    Args:
        values: `(n,)` or `(n, g)` values, a row a seed; NaN counts as infinitely bad.
        level: Coverage aimed at, in (0, 1).
        resamples: Of the seeds, with replacement, the same ones at every place of the grid.
        seed: Of the resampling.

    Returns:
        Lower and upper ends, `()` or `(g,)`. With one seed both are the value itself; with up to five or so they span
        about the range of the seeds, since that is all that so few values can say.

    Raises:
        InvalidSetting: If level is not in (0, 1) or there are no values.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13.
    """
    if not 0 < level < 1:
        raise InvalidSetting(f"level must be in (0, 1), got {level}.")
    values = np.where(np.isnan(values), np.inf, np.asarray(values, dtype=float))
    if not len(values):
        raise InvalidSetting("there are no values to resample.")
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    # In blocks of columns, so that memory stays at resamples x n x 32 numbers.
    flat = values.reshape(len(values), -1)
    ends = np.empty((2, flat.shape[1]))
    tails = [(1 - level) / 2, (1 + level) / 2]
    for begin in range(0, flat.shape[1], 32):
        block = flat[:, begin : begin + 32]
        # Nearest-rank quantiles: between a finite loss and an infinite one there is nothing to interpolate.
        ends[:, begin : begin + 32] = np.quantile(_median(block[picks], axis=1), tails, axis=0, method="nearest")
    low, high = ends.reshape(2, *values.shape[1:])
    return low, high


def summarise(values: np.ndarray, seed: int = 0) -> Interval:
    """Return the median over seeds of `(n,)` values and its interval."""
    values = np.asarray(values, dtype=float)
    low, high = bootstrap_median(values, seed=seed)
    return Interval(float(_median(np.where(np.isnan(values), np.inf, values))), float(low), float(high), len(values))


def anytime(
    frame: pd.DataFrame, column: str, against: str = "queries", *, first: float | None = None, points: int = 160
) -> Band:
    """Return one solver's curve on one problem over its seeds.

    Args:
        frame: The rows of one problem and solver.
        column: What to show, such as "noise_free_best".
        against: "queries", "seconds" or "forward_equivalents".
        first: Where the log-spaced grid begins, or later if not every seed has a value yet; by default at the first
            place beyond 0.
        points: Of the grid. It ends where the last seed ends; a seed that ended before keeps its last value.

    Raises:
        InvalidSetting: If there is nothing to show.
    """
    curves = []
    for _, run in frame.groupby("seed"):
        x, y = numbers(run, against), numbers(run, column)
        order = np.argsort(x, kind="stable")
        order = order[~np.isnan(y[order])]
        if len(order):
            curves.append((x[order], y[order]))
    if not curves:
        raise InvalidSetting(f"no run has values of {column!r}.")
    begin = max(x[0] for x, _ in curves)
    end = max(x[-1] for x, _ in curves)
    if first is None:
        positive = np.concatenate([x[x > 0] for x, _ in curves])
        first = float(positive.min()) if len(positive) else 1.0
    first = max(begin, first)
    grid = np.geomspace(first, end, points) if end > first else np.array([first])
    # geomspace rounds its ends; a step just beyond the last point would be missed.
    grid[0], grid[-1] = first, max(first, end)
    values = np.stack([step_values(x, y, grid) for x, y in curves])
    low, high = bootstrap_median(values)
    return Band(grid, _median(values, axis=0), low, high, len(curves))


def start_value(frame: pd.DataFrame, column: str) -> float:
    """Return the median over seeds of a column at 0 queries; NaN where it is not known."""
    values = numbers(select(frame, queries=0), column)
    return float(np.median(values)) if len(values) and not np.isnan(values).any() else float("nan")


def final_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of every run."""
    order = frame.sort_values(["problem", "solver", "seed", "queries"], kind="stable")
    return order.groupby(["problem", "solver", "seed"], sort=False).tail(1).reset_index(drop=True)


def final_table(
    frame: pd.DataFrame,
    *,
    solvers: Sequence[str],
    problems: Sequence[str],
    references: Sequence[str] = (),
    expected: int | None = None,
) -> pd.DataFrame:
    """Return the comparison's main table.

    Args:
        frame: A results table.
        solvers: Labels, in the order of the table.
        problems: Labels, likewise.
        references: Solvers that are shown but not ranked.
        expected: Seeds that each solver should have finished; those it lacks rank last.

    Returns:
        One row a problem and solver with "problem", "solver", "reference", "column" (what was compared by), "seeds",
        "median", "low", "high", "rank" (mean over seeds, 1 is best; NaN for references), "best" (lowest median of the
        problem's ranked solvers), "overlap" (its interval overlaps the best one's), "queries", "forward_equivalents",
        "seconds" (medians) and the median of every metric.
    """
    last = final_rows(frame)
    metrics = metric_columns(frame)
    rows = []
    for problem in problems:
        mine = select(last, problem=problem)
        column = objective_column(select(frame, problem=problem))
        ranked = [solver for solver in solvers if solver not in references]
        ranks = mean_ranks(mine, column, ranked, expected)
        for solver in solvers:
            runs = select(mine, solver=solver)
            row = {"problem": problem, "solver": solver, "reference": solver in references, "column": column}
            row |= {"seeds": len(runs), "rank": ranks.get(solver, np.nan)}
            if len(runs):
                interval = summarise(numbers(runs, column))
                row |= {"median": interval.middle, "low": interval.low, "high": interval.high}
                for name in ("queries", "forward_equivalents", "seconds", *metrics):
                    row[name] = float(np.nanmedian(numbers(runs, name))) if runs[name].notna().any() else np.nan
            rows.append(row)
    names = ["problem", "solver", "reference", "column", "seeds", "median", "low", "high", "rank"]
    table = pd.DataFrame(rows).reindex(columns=[*names, "queries", "forward_equivalents", "seconds", *metrics])
    return _mark_best(table)


def mean_ranks(
    last: pd.DataFrame, column: str, solvers: Sequence[str], expected: int | None = None
) -> dict[str, float]:
    """Return each solver's rank averaged over seeds; ties share a rank, an unfinished run ranks last.

    Args:
        last: Final rows of one problem.
        column: What to rank by; lower is better.
        solvers: Who is ranked.
        expected: Seeds each should have; a solver that finished none is still ranked when this is given.
    """
    values = last.pivot(index="seed", columns="solver", values=column)
    present = [solver for solver in solvers if expected is not None or solver in values.columns]
    values = values.reindex(columns=present).fillna(np.inf)
    if values.empty:
        return {}
    return {str(solver): float(rank) for solver, rank in values.rank(axis=1, method="average").mean().items()}


def pairings(last: pd.DataFrame, column: str, champion: str, others: Sequence[str]) -> dict[str, Pairing]:
    """Compare one solver with others on the seeds that both finished.

    Args:
        last: Final rows of one problem.
        column: What to compare by; lower is better.
        champion: Who is compared with everyone else.
        others: Everyone else; their p-values are one family.

    Note that the champion was picked because it did best on these very seeds, which favours it.
    """
    values = last.pivot(index="seed", columns="solver", values=column)
    counts, raw = {}, {}
    for other in others:
        if champion not in values.columns or other not in values.columns:
            continue
        pair = np.asarray(values[[champion, other]], dtype=float)
        pair = pair[~np.isnan(pair).any(axis=1)]
        gap = pair[:, 0] - pair[:, 1]
        counts[other] = (int((gap < 0).sum()), int((gap == 0).sum()), int((gap > 0).sum()))
        if len(gap) >= FEWEST_SEEDS_FOR_TESTS and np.isfinite(gap).all():
            raw[other] = _signed_rank(gap)
    adjusted = holm(raw)
    return {
        other: Pairing(better, equal, worse, adjusted.get(other)) for other, (better, equal, worse) in counts.items()
    }


def _signed_rank(gap: np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test of `(n,)` paired differences."""
    if not (gap != 0).any():
        return 1.0
    from scipy import stats  # slow to import, and seldom needed

    test: Any = stats.wilcoxon
    return float(test(gap, zero_method="zsplit").pvalue)


def holm(p: dict[str, float]) -> dict[str, float]:
    """Return Holm's step-down adjustment of a family of p-values.

    Examples:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for i, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, value * (len(p) - i)))
        adjusted[name] = largest
    return adjusted


def overall_ranks(table: pd.DataFrame) -> dict[str, float]:
    """Return each ranked solver's rank averaged over problems, best first."""
    ranked = keep(table, ~table["reference"] & table["rank"].notna())
    means = {str(solver): float(numbers(rows, "rank").mean()) for solver, rows in ranked.groupby("solver", sort=False)}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def _median(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Median that keeps infinities apart from NaN: the mean of inf and a number is inf, of inf and inf is inf."""
    with np.errstate(invalid="ignore"):
        return np.median(values, axis=axis)


def _mark_best(table: pd.DataFrame) -> pd.DataFrame:
    best = pd.Series(False, index=table.index)
    overlap = pd.Series(False, index=table.index)
    ranked = keep(table, ~table["reference"] & table["median"].notna())
    for _, group in ranked.groupby("problem"):
        champion = group.index[int(numbers(group, "median").argmin())]
        best[champion] = True
        reached = numbers(group, "low") <= numbers(group.loc[[champion]], "high")
        overlap[group.index[reached & (group.index != champion)]] = True
    table.insert(9, "best", best)
    table.insert(10, "overlap", overlap)
    return table
