"""Space-time panels of states in one dimension: position upwards, time to the right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from problems.pde.pictures.panels import (
    COLOURS,
    GONE,
    check_methods,
    colour_bar,
    colour_limit,
    place,
    say,
    sheet,
)
from zotoolkit.checks import check_positive
from zotoolkit.figures.canvas import encoded
from zotoolkit.figures.style import SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 3.0, 0.85  # inches of a panel
_GAP, _BETWEEN = 0.1, 0.3  # rows, columns


def draw_space_time(
    methods: Mapping[str, Tensor],
    dt: float,
    length: float,
    *,
    differences: bool = True,
    limit: float | None = None,
    title: str = "",
) -> bytes:
    r"""Draw trajectories of periodic states: one row a method, the first of them the reference.

    Beside each other method stands what it is off by. All panels share one symmetric scale, that of the first row where
    no limit is given. From its first frame that is not finite on, a trajectory is grey.

    Args:
        methods: By name, one trajectory each, `(T + 1, points)`.
        dt: Time between frames.
        length: Of the interval.
        differences: Whether to draw the second column.
        limit: Value of the strongest colours; by default 99.5 per cent of the first row's lie within.
        title: Above the panels.

    Returns:
        A PNG. The same arguments give the same file.

    Raises:
        InvalidSetting: If there are no methods, or a setting is not positive.
        InvalidState: If a trajectory has another form.
        MissingExtra: If matplotlib is not installed.

    Examples:
        >>> from problems.pde.simulators import KuramotoSivashinsky, rollout
        >>> path = rollout(KuramotoSivashinsky(order=2), KuramotoSivashinsky().start(1), None, 20)[:, 0]
        >>> draw_space_time({"reference": path, "half": path / 2}, dt=0.5, length=60.0)[:4]
        b'\x89PNG'
    """
    check_positive(dt, "dt")
    check_positive(length, "length")
    paths = check_methods(methods, "(T + 1, points)", 2)
    reference = next(iter(paths.values()))
    limit = colour_limit(limit, reference)
    frames = max(len(path) for path in paths.values())
    columns = 2 if differences and len(paths) > 1 else 1
    left, above, below, right = 1.2, 0.55 if title else 0.32, 0.48, 0.75
    width = left + columns * (_WIDTH + _BETWEEN) - _BETWEEN + right
    height = above + len(paths) * (_HEIGHT + _GAP) - _GAP + below
    with sheet(width, height) as figure:
        image = None
        for line, (name, path) in enumerate(paths.items()):
            bottom = height - above - (line + 1) * (_HEIGHT + _GAP) + _GAP
            say(figure, left - 0.42, bottom + _HEIGHT / 2, name, ha="right", va="center")
            shown = [path, path[: len(reference)] - reference[: len(path)]][: columns if line else 1]
            for column, values in enumerate(shown):
                axes = place(figure, left + column * (_WIDTH + _BETWEEN), bottom, _WIDTH, _HEIGHT)
                image = axes.imshow(
                    _whole(values).T.numpy(),
                    cmap=COLOURS,
                    vmin=-limit,
                    vmax=limit,
                    origin="lower",
                    extent=(-dt / 2, (len(values) - 0.5) * dt, 0, length),
                    aspect="auto",
                    interpolation="nearest",
                )
                axes.set_facecolor(GONE)
                axes.set(xlim=(-dt / 2, (frames - 0.5) * dt), ylim=(0, length), yticks=[0, length])
                axes.tick_params(labelbottom=line == len(paths) - 1, labelleft=not column, labelsize=7.5)
                axes.locator_params(axis="x", nbins=6)
                _mark_end(axes, values, dt, frames)
                if line == len(paths) - 1:
                    axes.set_xlabel("time")
                if not line or (line == 1 and column):
                    axes.set_title("difference to " + next(iter(paths)) if column else "state", fontsize=8.5, pad=4)
        if image is not None:
            tallest = min(2.2, height - above - below)
            middle = below + (height - above - below) / 2
            colour_bar(figure, image, (width - right + 0.1, middle - tallest / 2, 0.09, tallest), "u")
        say(figure, 0.1, height - 0.1, title, ha="left", va="top", fontweight="bold", fontsize=9.5)
        return encoded(figure, "png", "space-time", facecolor="white")


def _whole(values: Tensor) -> Tensor:
    """Return the values, NaN from the first frame that is not finite on."""
    gone = (~torch.isfinite(values).all(1)).cummax(0).values
    return values.double().masked_fill(gone[:, None], torch.nan)


def _mark_end(axes: Axes, values: Tensor, dt: float, frames: int) -> None:
    gone = (~torch.isfinite(values).all(1)).nonzero().flatten()
    if len(gone):
        start = float(gone[0]) * dt
        middle = (start + (frames - 0.5) * dt) / 2
        low, high = axes.get_ylim()
        axes.text(middle, (low + high) / 2, "blown up", ha="center", va="center", color=SOFT)
