"""Panels of vorticity: one row a method, one column a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from problems.pde.pictures.panels import (
    COLOURS,
    DISC,
    check_methods,
    colour_bar,
    colour_limit,
    mark_gone,
    place,
    say,
    sheet,
)
from problems.pde.simulators.wake.geometry import DISC_CENTER, DISC_RADIUS, WIDTH
from problems.pde.simulators.wake.staggered import vorticity
from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.figures.canvas import encoded
from zotoolkit.figures.style import SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_FORM = "(T + 1, 2, rows + 1, columns + 1)"
_PANEL = 1.75  # inches along the stream
_GAP = 0.07


def draw_vorticity(
    methods: Mapping[str, Tensor],
    frames: Sequence[int],
    *,
    dt: float = 1.0,
    limit: float | None = None,
    title: str = "",
) -> bytes:
    r"""Draw the vorticity of the wake behind its disc, the stream from left to right.

    Rows are methods, the first of them the reference; columns are times. All panels share one symmetric scale, that of
    the first row where no limit is given. A state that is not finite is a grey panel that says so.

    Args:
        methods: By name, one trajectory each, `(T + 1, 2, rows + 1, columns + 1)`: what the reference is, the solver
            alone ("SRC"), corrected ones ("NON", "ZO-SOL", "FO-SOL").
        frames: Which to draw; some two to six.
        dt: Time between frames.
        limit: Vorticity of the strongest colours, per unit of time; by default 99.5 per cent of the first row's lie
            within.
        title: Above the panels.

    Returns:
        A PNG. The same arguments give the same file.

    Raises:
        InvalidSetting: If there are no methods, or a frame is not there.
        InvalidState: If a trajectory has another form.
        MissingExtra: If matplotlib is not installed.

    Examples:
        >>> from problems.pde.simulators import rollout
        >>> from problems.pde.simulators.wake import WakeFlow
        >>> flow = WakeFlow(16)
        >>> path = rollout(flow, flow.initial_state(poke=4.0), torch.tensor([[1e6]]), 6)[:, 0]
        >>> draw_vorticity({"SRC": path}, [2, 6])[:4]
        b'\x89PNG'
    """
    check_positive(dt, "dt")
    paths = check_methods(methods, _FORM, 4)
    times = check_frames(frames, min(len(path) for path in paths.values()))
    fields = {name: curl(path[times]) for name, path in paths.items()}
    limit = colour_limit(limit, next(iter(fields.values())))
    left, above, below, right = 0.95, 0.52 if title else 0.3, 0.08, 0.85
    tall = _PANEL / 2
    width = left + len(times) * (_PANEL + _GAP) + right
    height = above + len(paths) * (tall + _GAP) + below
    with sheet(width, height) as figure:
        image = None
        for line, (name, field) in enumerate(fields.items()):
            bottom = height - above - (line + 1) * (tall + _GAP) + _GAP
            say(figure, left - 0.1, bottom + tall / 2, name, ha="right", va="center")
            for column, one in enumerate(field):
                axes = place(figure, left + column * (_PANEL + _GAP), bottom, _PANEL, tall)
                image = show(axes, one, limit) or image
                if not line:
                    axes.set_title(f"t = {times[column] * dt:g}", fontsize=8.5, pad=4)
        if image is not None:
            tallest = min(2.2, len(paths) * (tall + _GAP) - _GAP)
            middle = below + (height - above - below) / 2
            bar = (width - right + 0.08, middle - tallest / 2, 0.09, tallest)
            colour_bar(figure, image, bar, "vorticity")
        say(figure, 0.1, height - 0.1, title, ha="left", va="top", fontweight="bold", fontsize=9.5)
        return encoded(figure, "png", "vorticity", facecolor="white")


def curl(velocity: Tensor) -> Tensor:
    """Return the vorticity of states of the wake's domain, per unit of time, across by downstream."""
    return vorticity(velocity, WIDTH / (velocity.shape[-1] - 1)).transpose(-1, -2)


def check_frames(frames: object, count: int) -> list[int]:
    """Return numbers of frames.

    Raises:
        InvalidSetting: If there are none, or one that no trajectory of `count` frames has.
    """
    given = list(frames) if isinstance(frames, Sequence) and not isinstance(frames, str) else []
    right = all(isinstance(frame, int) and not isinstance(frame, bool) and 0 <= frame < count for frame in given)
    if not given or not right:
        raise InvalidSetting(
            f"frames must be a list of numbers from 0 to {count - 1}, the last that all methods have, got "
            f"{brief(frames)}."
        )
    return given


def show(axes: Axes, field: Tensor, limit: float, *, levels: int = 257) -> AxesImage | None:
    """Draw one field of vorticity, `(across, downstream)`, and the disc; None for a field that is not finite."""
    import matplotlib
    from matplotlib.patches import Circle

    axes.set(xticks=[], yticks=[], xlim=(0, 2 * WIDTH), ylim=(0, WIDTH))
    if not bool(torch.isfinite(field).all()):
        mark_gone(axes)
        return None
    # Values stand at the inner corners of the cells.
    spacing = WIDTH / (field.shape[0] + 1)
    ends = (spacing / 2, 2 * WIDTH - spacing / 2, spacing / 2, WIDTH - spacing / 2)
    colours = matplotlib.colormaps[COLOURS].resampled(levels)
    axes.set_facecolor(colours(0.5))  # the outermost half cells have no value
    image = axes.imshow(
        field.numpy(),
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        origin="lower",
        extent=ends,
        aspect="auto",
        interpolation="bilinear",
        interpolation_stage="data",
    )
    axes.add_patch(Circle(DISC_CENTER, DISC_RADIUS, facecolor=DISC, edgecolor=SOFT, linewidth=0.6))
    return image
