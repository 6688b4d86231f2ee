"""Curves: errors over time, spectra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief
from zotoolkit.figures.canvas import canvas, check_matplotlib, encoded, label_ends, set_log
from zotoolkit.figures.style import SOFT, LineStyle, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_FROM = 20.0  # a ratio of largest to smallest value from which a log axis shows more than a linear one
_ABOVE_BEST = 100.0  # times what the best method reaches: what is further up is as good as lost
_DECADES = 12


def draw_errors(
    errors: Mapping[str, Tensor],
    dt: float,
    *,
    what: str = "mean absolute error",
    baselines: Iterable[str] = (),
    title: str = "",
) -> bytes:
    r"""Draw errors over time, each method's median over seeds in a band from its lowest to its highest.

    A curve ends in a cross at the last frame at which the median is finite: there the method has blown up.

    Args:
        errors: By name, `(T + 1,)`, or `(S, T + 1)` with one row a seed, such as `mae` and `relative_l2` return.
        dt: Time between frames.
        what: The vertical axis.
        baselines: Names drawn as dashed lines, such as "SRC".
        title: Above the axes.

    Returns:
        A PNG. The same arguments give the same file.

    Raises:
        InvalidSetting: If there are no errors by name, or dt is not positive.
        InvalidState: If errors have another form.
        MissingExtra: If matplotlib is not installed.

    Examples:
        >>> draw_errors({"SRC": torch.arange(9.0), "SOL": torch.rand(3, 9)}, dt=0.5, baselines=["SRC"])[:4]
        b'\x89PNG'
    """
    check_positive(dt, "dt")
    found = _check_curves(errors, "errors", "T + 1")
    check_matplotlib()
    dashed = set(baselines)
    looks = styles(list(found), dashed)
    values = np.concatenate([rows[:, 1:].ravel() for rows in found.values()])
    with canvas(found) as (figure, axes):
        axes.set_xlim(0, max(rows.shape[1] - 1 for rows in found.values()) * dt)
        log = _limit_y(axes, values, [np.median(rows, axis=0)[1:] for rows in found.values()])
        first = 1 if log else 0
        ends = {}
        for name, rows in found.items():
            times = dt * np.arange(rows.shape[1])
            ends[name] = _draw_curve(axes, times[first:], rows[:, first:], looks[name], baseline=name in dashed)
        axes.set_xlabel("time")
        axes.set_ylabel(what)
        axes.set_title(title, loc="left", fontweight="bold")
        label_ends(axes, ends, looks)
        seeds = max(len(rows) for rows in found.values())
        note = f"Median over {seeds} seeds; band: lowest to highest." if seeds > 1 else ""
        figure.text(0.995, 0.012, note, ha="right", va="bottom", fontsize=6.5, color=SOFT)
        return encoded(figure, "png", "errors", facecolor="white")


def draw_spectra(
    spectra: Mapping[str, Tensor],
    wave_numbers: Tensor,
    *,
    what: str = "energy",
    baselines: Iterable[str] = (),
    title: str = "",
) -> bytes:
    """Draw energy by wave number, both axes logarithmic.

    Args:
        spectra: By name, `(K,)`, or `(S, K)` with one row a seed, such as `energy_spectrum` returns, averaged over
            states. What is not finite is left out.
        wave_numbers: `(K,)`; what stands at 0 is left out.
        what: The vertical axis.
        baselines: Names drawn as dashed lines, such as "reference".
        title: Above the axes.

    Returns:
        A PNG. The same arguments give the same file.

    Raises:
        InvalidSetting: If there are no spectra by name.
        InvalidState: If spectra or wave numbers have another form.
        MissingExtra: If matplotlib is not installed.
    """
    found = _check_curves(spectra, "spectra", "K")
    if not isinstance(wave_numbers, Tensor) or wave_numbers.ndim != 1 or not bool((wave_numbers >= 0).all()):
        raise InvalidState(f"wave_numbers must be (K,), none below 0, got {brief(wave_numbers)}.")
    numbers = wave_numbers.detach().cpu().double().numpy()
    for name, rows in found.items():
        if rows.shape[1] != len(numbers):
            raise InvalidState(f"{name!r} has {rows.shape[1]} energies and there are {len(numbers)} wave numbers.")
    kept = numbers > 0
    if not kept.any():
        raise InvalidState("wave_numbers must hold one above 0.")
    check_matplotlib()
    from matplotlib.ticker import LogLocator, NullFormatter

    dashed = set(baselines)
    looks = styles(list(found), dashed)
    with canvas(found) as (figure, axes):
        axes.set_xlim(numbers[kept].min() * 0.95, max(numbers[kept].max() * 1.02, numbers[kept].min()))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        # The shortest wave of an even grid, half seen by it, is damped away by some solvers: it sets no limit.
        inner = [rows[:, kept][:, : max(1, kept.sum() - 1)] for rows in found.values()]
        _limit_y(axes, np.concatenate([rows.ravel() for rows in inner]), [np.median(rows, axis=0) for rows in inner])
        ends = {}
        for name, rows in found.items():
            rows = np.where(rows > 0, rows, np.nan)[:, kept]
            ends[name] = _draw_curve(
                axes, numbers[kept], rows, looks[name], baseline=name in set(baselines), cross=False
            )
        axes.set_xlabel("wave number")
        axes.set_ylabel(what)
        axes.set_title(title, loc="left", fontweight="bold")
        label_ends(axes, ends, looks)
        return encoded(figure, "png", "spectra", facecolor="white")


def _check_curves(curves: object, name: str, size: str) -> dict[str, np.ndarray]:
    """Return `(S, n)` float64 by name."""
    if not isinstance(curves, Mapping) or not curves or not all(isinstance(key, str) for key in curves):
        raise InvalidSetting(f"{name} must be a dict of tensors by name, at least one, got {brief(curves)}.")
    found: dict[str, np.ndarray] = {}
    for key, values in curves.items():
        right = isinstance(values, Tensor) and values.is_floating_point() and values.ndim in (1, 2)
        if not right or not values.numel() or values.shape[-1] < 2:
            raise InvalidState(f"{name} of {key!r} must be ({size},) or (S, {size}), got {brief(values)}.")
        found[key] = torch.atleast_2d(values.detach().cpu().double()).numpy()
    return found


def _limit_y(axes: Axes, values: np.ndarray, medians: list[np.ndarray]) -> bool:
    """Set the vertical limits, and a log scale where one shows more; return whether it is one."""
    values = values[np.isfinite(values)]
    if not values.size:
        return False
    tops = [float(np.max(median[np.isfinite(median)])) for median in medians if np.isfinite(median).any()]
    high = min(float(values.max()), _ABOVE_BEST * min(tops)) if tops else float(values.max())
    positive = values[values > 0]
    low = float(positive.min()) if positive.size else 0.0
    if (values >= 0).all() and low > 0 and high / low > _LOG_FROM:
        low = max(low, high / 10**_DECADES)
        margin = (high / low) ** 0.04
        axes.set_ylim(low / margin, high * margin)
        set_log(axes.yaxis)
        return True
    low = min(0.0, float(values.min()))
    axes.set_ylim(low, high + 0.04 * (high - low) if high > low else low + 1)
    return False


def _draw_curve(
    axes: Axes, x: np.ndarray, rows: np.ndarray, look: LineStyle, *, baseline: bool, cross: bool = True
) -> float:
    """Draw a median and its band; return where its label goes: its last finite value, or the top if there is none."""
    middle = np.median(rows, axis=0)
    finite = np.isfinite(middle).nonzero()[0]
    if not len(finite):
        return axes.get_ylim()[1]
    if len(rows) > 1 and not baseline:
        low, high = (np.where(np.isfinite(end), end, np.nan) for end in (rows.min(0), rows.max(0)))
        axes.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
    axes.plot(
        x,
        np.where(np.isfinite(middle), middle, np.nan),
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.5 if baseline else 1.9,
        marker=look.marker or None,
        markersize=4.6,
        markeredgewidth=0,
        markevery=0.17 if look.marker else None,
        zorder=2.5 if baseline else 3,
    )
    last = finite[-1]
    right = axes.get_xlim()[1]
    if cross and last < len(middle) - 1:
        axes.plot(x[last], middle[last], color=look.colour, marker="x", markersize=6, markeredgewidth=1.4, clip_on=True)
    if cross and x[last] < right * 0.999:
        axes.hlines(middle[last], x[last], right, colors=look.colour, linewidth=0.8, linestyles=":", alpha=0.8)
    return float(middle[last])
