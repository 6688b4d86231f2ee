"""An animation of vorticity: one panel a method, all at the same time."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from problems.pde.pictures.panels import COLOURS, DISC, GONE, check_methods, colour_limit, mark_gone, place, say, sheet
from problems.pde.pictures.vorticity import check_frames, curl, show
from problems.pde.progress import Progress, shown
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting
from zotoolkit.figures.style import INK

if TYPE_CHECKING:
    from PIL.Image import Image

_FORM = "(T + 1, 2, rows + 1, columns + 1)"
_DPI = 100
_GAP, _NAME, _EDGE, _FOOT = 0.12, 0.24, 0.12, 0.3  # inches
_LEVELS = 41  # of the colours: bands compress, and a GIF has 256 colours for everything
_GREYS = 24
_MOST = 50  # frames a second that browsers show


def animate_vorticity(
    methods: Mapping[str, Tensor],
    frames: Sequence[int] | None = None,
    *,
    dt: float = 1.0,
    limit: float | None = None,
    fps: float = 12.5,
    width: int = 300,
    columns: int | None = None,
    title: str = "",
    progress: Progress = None,
) -> bytes:
    """Draw the vorticity of the wake as an animated GIF that repeats for ever.

    At the default width 100 pictures took 0.9 MB with two methods, 1.8 to 2.7 MB and some 5 s with five. A method is a
    grey panel from its first state that is not finite on.

    Args:
        methods: As in `draw_vorticity`; the first gives the scale of the colours.
        frames: Which to draw, in their order; by default some 100, evenly over what all methods have.
        dt: Time between frames.
        limit: Vorticity of the strongest colours.
        fps: Pictures a second, at most 50; a GIF counts in hundredths of a second.
        width: Of a panel, in pixels.
        columns: Panels side by side; by default one up to three methods, else two.
        title: Above the panels.
        progress: Called with the pictures done and their number; False for none. By default a bar on standard error
            appears where it takes longer than two seconds.

    Returns:
        A GIF. The same arguments give the same file.

    Raises:
        InvalidSetting: If there are no methods, a frame is not there, or a setting is out of range.
        InvalidState: If a trajectory has another form.
        MissingExtra: If matplotlib is not installed.

    Examples:
        >>> from problems.pde.simulators import rollout
        >>> from problems.pde.simulators.wake import WakeFlow
        >>> flow = WakeFlow(16)
        >>> path = rollout(flow, flow.initial_state(poke=4.0), torch.tensor([[1e6]]), 4)[:, 0]
        >>> animate_vorticity({"SRC": path}, width=100)[:6]
        b'GIF89a'
    """
    check_positive(dt, "dt")
    if check_positive(fps, "fps") > _MOST:
        raise InvalidSetting(f"fps must be at most {_MOST}, got {fps:g}.")
    paths = check_methods(methods, _FORM, 4)
    count = min(len(path) for path in paths.values())
    every = list(range(0, count, max(1, math.ceil(count / 100)))) if frames is None else frames
    chosen = check_frames(every, count)
    side = (1 if len(paths) <= 3 else 2) if columns is None else check_count(columns, "columns")
    panel = check_count(width, "width", 40) / _DPI
    fields = {name: curl(_until_gone(path)[: max(chosen) + 1]) for name, path in paths.items()}
    limit = colour_limit(limit, next(iter(fields.values())))
    times = [(frame, f"t = {frame * dt:g}") for frame in chosen]
    pictures: list[Image] = []
    with shown(progress, len(times), "animation", unit=" pictures") as tell:
        for picture in _pictures(fields, times, limit, panel, min(side, len(paths)), title):
            pictures.append(picture)
            tell(len(pictures))
    return _gif(pictures, fps)


def _pictures(
    fields: Mapping[str, Tensor],
    times: Sequence[tuple[int, str]],
    limit: float,
    panel: float,
    columns: int,
    title: str,
) -> Iterator[Image]:
    """Draw one picture after the other; a method whose fields have run out is gone."""
    rows = math.ceil(len(fields) / columns)
    above = _EDGE + (_NAME if title else 0)
    width, height = 2 * _EDGE + columns * (panel + _GAP) - _GAP, above + rows * (panel / 2 + _NAME) + _FOOT
    with sheet(width, height) as figure:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(_DPI)
        say(figure, _EDGE, height - _EDGE, title, ha="left", va="top", fontweight="bold", fontsize=9.5)
        clock = figure.text(_EDGE / width, 0.1 / height, "", ha="left", va="bottom")
        axes, ghosts, images = {}, {}, {}
        for number, (name, field) in enumerate(fields.items()):
            line, column = divmod(number, columns)
            left, top = _EDGE + column * (panel + _GAP), height - above - line * (panel / 2 + _NAME)
            axes[name] = place(figure, left, top - _NAME - panel / 2, panel, panel / 2)
            first = field[0] if len(field) else torch.full((1, 1), torch.nan)
            images[name] = show(axes[name], first, limit, levels=_LEVELS)
            ghosts[name] = place(figure, left, top - _NAME - panel / 2, panel, panel / 2)
            ghosts[name].set(xticks=[], yticks=[], visible=False)
            mark_gone(ghosts[name])
            say(figure, left, top - _NAME + 0.05, name, ha="left", va="bottom")
        for frame, text in times:
            for name, image in images.items():
                if image is None:
                    continue
                if frame < len(fields[name]):
                    image.set_data(fields[name][frame].numpy())
                axes[name].set_visible(frame < len(fields[name]))
                ghosts[name].set_visible(frame >= len(fields[name]))
            clock.set_text(text)
            canvas.draw()
            yield Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _until_gone(path: Tensor) -> Tensor:
    """Return a trajectory up to its first state that is not finite."""
    gone = (~torch.isfinite(path.flatten(1)).all(1)).nonzero().flatten()
    return path[: int(gone[0])] if len(gone) else path


def _gif(pictures: Sequence[Image], fps: float) -> bytes:
    """Return the pictures as one file, in the colours that they are drawn in and greys between ink and white."""
    import matplotlib
    from matplotlib.colors import to_rgb
    from PIL import Image

    chosen = [tuple(row[:3]) for row in matplotlib.colormaps[COLOURS].resampled(_LEVELS)(np.arange(_LEVELS))]
    chosen += [to_rgb(GONE), to_rgb(DISC)]
    ink, white = np.array(to_rgb(INK)), np.ones(3)
    chosen += [tuple(ink + (white - ink) * step / (_GREYS - 1)) for step in range(_GREYS)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([round(255 * part) for colour in chosen for part in colour])
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=10 * max(2, round(100 / fps)),
        loop=0,
    )
    return buffer.getvalue()
