"""Numbers as tables print them, and what is computed over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def mean(values: Iterable[float]) -> float:
    """Return the mean, NaN of nothing."""
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def percent(share: float) -> str:
    """Return a share as a percentage with two digits after the point, "-" for NaN."""
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def accuracy(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean test accuracy of runs in percent, with the binomial standard error of one measurement.

    The runs are measured on the same images, so that the mean over seeds has nearly the same one.
    """
    if not runs:
        return "-"
    share = mean(run["metrics"]["test_accuracy"] for run in runs)
    error = math.sqrt(share * (1 - share) / runs[0]["test_samples"])
    return f"{percent(share)} ± {percent(error)}"


def each(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the test accuracies of runs one by one, in percent."""
    return ", ".join(percent(run["metrics"]["test_accuracy"]) for run in runs) or "-"


def test_loss(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean test loss."""
    return f"{mean(run['metrics']['test_loss'] for run in runs):.4f}" if runs else "-"


def seconds(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean CPU seconds a run and, in brackets, those by the wall clock."""
    if not runs:
        return "-"
    return f"{mean(run['cpu_seconds'] for run in runs):.0f} ({mean(run['wall_seconds'] for run in runs):.0f})"


def queries(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the queries of one run."""
    return f"{runs[0]['queries']:,}" if runs else "-"
