"""Figures of a comparison: anytime curves and profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zotoolkit.checks import check_choice
from zotoolkit.compare import profiles, statistics, store
from zotoolkit.compare.curve import METRIC
from zotoolkit.compare.results import Results
from zotoolkit.compare.specification import slug
from zotoolkit.figures.canvas import Picture, canvas, check_matplotlib, finish, label_ends, set_log
from zotoolkit.figures.style import LineStyle, styles
from zotoolkit.files import write_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FIGURES = "figures"
FORMATS = ("png", "pdf", "svg")
TAUS = (1e-1, 1e-3)
"""Accuracies of the profiles."""

_LOG_FROM = 20.0  # a ratio of largest to smallest value from which a log axis shows more than a linear one
_DECADES_OF_SECONDS = 4
_DECADES_OF_LOSS = 12
_AXES = {
    "queries": "queries",
    "seconds": "optimisation time (s)",
    "forward_equivalents": "forward equivalents",
}


def draw_all(results: Results, formats: Sequence[str] = ("png",)) -> list[Picture]:
    """Draw all figures of a comparison.

    Args:
        results: What to show.
        formats: Of the files: some of `FORMATS`.

    Returns:
        For every problem the loss against queries and against seconds (against forward equivalents too where these
        differ from queries) and every metric against queries; with several problems, data and performance profiles.

    Raises:
        InvalidSetting: If a format is unknown.
        MissingExtra: If matplotlib is not installed.
    """
    for ending in formats:
        check_choice(ending, FORMATS, "format")
    check_matplotlib()
    looks = styles(results.solvers, results.references)
    pictures = []
    for problem in results.problems:
        rows = results.of(problem)
        if rows.empty:
            continue
        pictures += [_anytime(results, problem, looks, formats, against) for against in _axes_for(results, problem)]
        metrics = [metric for metric in store.metric_columns(rows) if _is_curve(rows, metric)]
        pictures += [_anytime(results, problem, looks, formats, "queries", metric) for metric in metrics]
    if len(results.problems) > 1 and len(results.ranked) > 1:
        pictures.extend(_profiles(results, looks, formats))
    return pictures


def write_pictures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write the figures' files into a folder's `figures` and return their paths.

    Raises:
        ResultsUnwritable: If they cannot be written.
    """
    paths = []
    for picture in pictures:
        for ending, content in picture.files.items():
            paths.append(folder / FIGURES / f"{picture.name}.{ending}")
            write_bytes(paths[-1], content)
    return paths


def _axes_for(results: Results, problem: str) -> list[str]:
    """Return what to draw a problem's loss against."""
    rows = results.of(problem)
    return [*list(_AXES)[:2], *(["forward_equivalents"] if statistics.forwards_differ(rows) else [])]


def _is_curve(rows: pd.DataFrame, metric: str) -> bool:
    """Whether a metric is known at more than one place of some run; what is measured once, at its end, is no curve."""
    known = store.keep(rows, ~np.isnan(store.numbers(rows, metric)))
    return bool(known.duplicated(["solver", "seed"]).any())


def _anytime(
    results: Results,
    problem: str,
    looks: Mapping[str, LineStyle],
    formats: Sequence[str],
    against: str,
    metric: str | None = None,
) -> Picture:
    """Draw one column of one problem against queries, seconds or forward equivalents."""
    rows = results.of(problem)
    column = statistics.objective_column(rows) if metric is None else metric
    known = store.keep(rows, ~np.isnan(store.numbers(rows, column)))
    minimum = results.minima.get(problem) if column == "noise_free_best" else None
    if minimum is not None:
        known = known.assign(**{column: _above(store.numbers(known, column), minimum)})
    left, right = _range(store.numbers(known, against), against)
    bands = {
        solver: statistics.anytime(mine, column, against, first=left)
        for solver in results.solvers
        if len(mine := store.select(known, solver=solver))
    }
    what = _what(column, minimum)
    seeds = max(band.seeds for band in bands.values())
    dimension = results.dimensions.get(problem)
    with canvas(bands) as (figure, axes):
        if right > left:
            axes.set_xlim(left, right)
            set_log(axes.xaxis)
        _limit_y(axes, bands, log=metric is None)
        for solver, band in bands.items():
            _draw_band(axes, band, looks[solver], reference=solver in results.references)
        axes.set_xlabel(_AXES[against])
        axes.set_ylabel(what)
        axes.set_title(problem + (f"  (d = {dimension:,})" if dimension else ""), loc="left", fontweight="bold")
        label_ends(axes, {solver: float(band.middle[-1]) for solver, band in bands.items()}, looks)
        name = f"{slug(problem)}-{against.replace('_', '-') if metric is None else slug(what)}"
        caption = f"{what[0].upper()}{what[1:]}, against {_AXES[against]}."
        note = f"Median over {seeds} seeds; band: 95 % bootstrap interval of the median." if seeds > 1 else ""
        return finish(figure, formats, name, caption, problem, note)


def _above(values: np.ndarray, minimum: float) -> np.ndarray:
    """Return `(n,)` losses above a known minimum, kept above 0 for a log axis where rounding says otherwise."""
    gaps = values - minimum
    positive = gaps[gaps > 0]
    least = max(float(positive.min()) if len(positive) else 0.0, np.finfo(float).eps * abs(minimum))
    return np.maximum(gaps, least)


def _range(x: np.ndarray, against: str) -> tuple[float, float]:
    """Return the horizontal limits."""
    positive = x[x > 0]
    if not len(positive):
        return 1.0, 1.0
    left, right = float(positive.min()), float(positive.max())
    if against == "seconds":
        # Before that hardly anything has happened, however fast the first iterations were.
        left = max(left, right / 10**_DECADES_OF_SECONDS)
    return left, right


def _limit_y(axes: Axes, bands: Mapping[str, statistics.Band], *, log: bool) -> None:
    """Set the vertical limits, and the scale where a log one is allowed."""
    values = np.concatenate([part for band in bands.values() for part in (band.low, band.middle, band.high)])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if log and low > 0 and high / low > _LOG_FROM:
        # What has left the picture at the bottom is as good as solved; the rest must stay legible.
        low = max(low, high / 10**_DECADES_OF_LOSS)
        margin = (high / low) ** 0.04
        axes.set_ylim(low / margin, high * margin)
        set_log(axes.yaxis)
    elif high > low:
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _draw_band(axes: Axes, band: statistics.Band, look: LineStyle, *, reference: bool) -> None:
    middle = np.where(np.isfinite(band.middle), band.middle, np.nan)
    if band.seeds > 1 and not reference:
        low, high = (np.where(np.isfinite(end), end, np.nan) for end in (band.low, band.high))
        axes.fill_between(band.grid, low, high, color=look.colour, alpha=0.16, linewidth=0, step="post")
    axes.plot(
        band.grid,
        middle,
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.5 if reference else 1.9,
        marker=look.marker or None,
        markersize=4.6,
        markeredgewidth=0,
        markevery=0.17 if look.marker else None,
        drawstyle="steps-post",
        zorder=2.5 if reference else 3,
    )
    right = axes.get_xlim()[1]
    if band.grid[-1] < right * 0.999 and np.isfinite(middle[-1]):
        # It ended here; where it stands then is carried on to its label.
        axes.plot([band.grid[-1], right], [middle[-1]] * 2, color=look.colour, linewidth=0.8, linestyle=":", alpha=0.8)
        axes.plot(band.grid[-1], middle[-1], color=look.colour, marker="|", markersize=8, markeredgewidth=1.4)


def _profiles(results: Results, looks: Mapping[str, LineStyle], formats: Sequence[str]) -> Iterator[Picture]:
    for tau in TAUS:
        needed = profiles.queries_to_solve(results.frame, results.ranked, tau)
        if needed.empty:
            continue
        accuracy = f"accuracy τ = {tau:g}"
        if set(needed.index.get_level_values("problem")) <= set(results.dimensions):
            found = profiles.data_profiles(needed, results.dimensions)
            title = f"Data profile, {accuracy}"
            yield _profile(found, looks, formats, title, "queries / (d + 1)", f"data-profile-{tau:g}", len(needed))
        found = profiles.performance_profiles(needed)
        title = f"Performance profile, {accuracy}"
        label = "queries, as a multiple of the quickest solver's"
        yield _profile(found, looks, formats, title, label, f"performance-profile-{tau:g}", len(needed))


def _profile(
    found: Mapping[str, profiles.Profile],
    looks: Mapping[str, LineStyle],
    formats: Sequence[str],
    title: str,
    label: str,
    name: str,
    instances: int,
) -> Picture:
    left, right = (float(f([profile.x[i] for profile in found.values()])) for f, i in ((min, 0), (max, -1)))
    right = max(right, left * 1.01) * 1.05
    with canvas(found) as (figure, axes):
        axes.set_xlim(left, right)
        set_log(axes.xaxis)
        axes.set_ylim(-0.02, 1.02)
        for solver, profile in found.items():
            x = np.concatenate(([left / 2], profile.x, [right * 2]))
            y = np.concatenate(([0.0], profile.share, profile.share[-1:]))
            look = looks[solver]
            axes.step(x, y, where="post", color=look.colour, linestyle=look.dashes, linewidth=1.9)
        axes.set_xlabel(label)
        axes.set_ylabel(f"share of {instances} instances solved")
        axes.set_title(title, loc="left", fontweight="bold")
        label_ends(axes, {solver: float(profile.share[-1]) for solver, profile in found.items()}, looks)
        return finish(figure, formats, name, f"{title}.")


def _what(column: str, minimum: float | None = None) -> str:
    """Return what a column's axis is called."""
    if minimum:
        return "true loss above the minimum, best so far"
    if column.startswith(METRIC):
        return column.removeprefix(METRIC).replace("_", " ")
    return "true loss, best so far" if column == "noise_free_best" else "best observed loss"
