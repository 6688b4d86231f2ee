"""Numbers and tables as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from zotoolkit.compare.curve import METRIC
from zotoolkit.compare.results import Results
from zotoolkit.compare.statistics import forwards_differ
from zotoolkit.compare.store import metric_columns, numbers, select

_MOST_METRICS = 4  # in a terminal


def loss(value: float) -> str:
    """Return a loss with four significant digits.

    Examples:
        >>> [loss(value) for value in (0.25, 3.2e-7, 12345.6, 0.0, float("inf"))]
        ['0.2500', '3.200e-07', '12350', '0', 'none']
    """
    if not math.isfinite(value):
        return "none"
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    if value == 0 or abs(value) >= 1e4:
        return f"{float(f'{value:.4g}'):.0f}"
    return f"{value:#.4g}".rstrip(".")


def count(value: float) -> str:
    """Return a number of queries.

    Examples:
        >>> count(12345.0)
        '12,345'
    """
    return "" if math.isnan(value) else f"{value:,.0f}"


def seconds(value: float) -> str:
    """Return a time.

    Examples:
        >>> seconds(0.0123), seconds(75.0)
        ('0.012', '75')
    """
    return "" if math.isnan(value) else f"{value:,.0f}" if value >= 60 else f"{value:.2g}"


def interval(row: Mapping[Any, Any]) -> str:
    """Return a table row's interval."""
    return f"[{loss(float(row['low']))}, {loss(float(row['high']))}]"


def metric(value: float) -> str:
    """Return a metric; nothing where it is not known."""
    return "" if math.isnan(value) else loss(value)


def metric_name(column: str) -> str:
    """Return what a metric's column is called in a heading."""
    return column.removeprefix(METRIC).replace("_", " ")


def ordered(table: pd.DataFrame, problem: str) -> pd.DataFrame:
    """Return a problem's rows of the final table: competitors from best to worst, then references."""
    rows = select(table, problem=problem)
    return rows.sort_values(by=["reference", "median"], na_position="last", kind="stable")


def final_text(results: Results) -> str:
    """Return the final table for a terminal."""
    table = results.table
    metrics = metric_columns(table)
    forwards = forwards_differ(table)
    blocks = []
    for problem in results.problems:
        rows = ordered(table, problem)
        mine = _telling([column for column in metrics if not np.isnan(numbers(rows, column)).all()])
        what = "true loss" if rows["column"].iloc[0] == "noise_free_best" else "observed loss"
        heading = ["", what, "95 % interval", *map(metric_name, mine), "rank", "seeds", "queries"]
        heading += ["forward eq."] * forwards + ["seconds"]
        lines = [heading]
        for row in rows.to_dict("records"):
            mark = "*" if row["best"] else "~" if row["overlap"] else " "
            name = f"{mark} {row['solver']}" + (" (reference)" if row["reference"] else "")
            if not row["seeds"]:
                lines.append([name, "no run", *[""] * (len(heading) - 2)])
                continue
            cells = [loss(float(row["median"])), interval(row)]
            cells += [metric(float(row[column])) for column in mine]
            cells += ["" if math.isnan(row["rank"]) else f"{row['rank']:.1f}", str(row["seeds"]), count(row["queries"])]
            cells += [count(row["forward_equivalents"])] * forwards + [seconds(row["seconds"])]
            lines.append([name, *cells])
        dimension = results.dimensions.get(problem)
        blocks.append(problem + (f" (d = {dimension:,})" if dimension else "") + "\n" + align(lines))
    seeds = len(results.comparison.seeds)
    note = f"Medians over {seeds} seeds. * lowest median; ~ its interval overlaps that one's." if seeds > 1 else ""
    return "\n\n".join([*blocks, *([note] if note else [])])


def _telling(metrics: list[str]) -> list[str]:
    """Return the metrics that a terminal has room for: of many, some of a test set, the shorter names first."""
    of_test = [column for column in metrics if metric_name(column).startswith("test")]
    room = set(sorted(of_test, key=len)[:_MOST_METRICS])
    return metrics if len(metrics) <= 2 else [column for column in of_test if column in room] or metrics[:2]


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns: the first left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
