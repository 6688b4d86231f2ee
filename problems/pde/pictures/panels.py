"""What pictures made of panels share: their style, their colours, what stands for a state that blew up, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief
from zotoolkit.figures.canvas import check_matplotlib
from zotoolkit.figures.style import INK, SOFT
from zotoolkit.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLOURS = "RdBu_r"  # told apart by colour-blind readers too; white is 0
GONE = "#e4e7ea"
DISC = "#c9ced4"
_SHARE = 0.995  # of the values of the first row lie within the colours; the rest is drawn in the last one
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


def write_picture(path: str | Path, content: bytes) -> Path:
    """Write a picture to a file, whole or not at all, and return its path; folders are made where there are none.

    Raises:
        ResultsUnwritable: If it cannot be written.
    """
    path = Path(path)
    write_bytes(path, content)
    return path


@contextmanager
def sheet(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of a size in inches in the house style; no global state of matplotlib is touched.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        yield Figure(figsize=(width, height))


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Return axes at a place in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def say(figure: Figure, left: float, bottom: float, text: str, **more: Any) -> None:
    """Write text at a place in inches."""
    across, up = figure.get_size_inches()
    figure.text(left / across, bottom / up, text, **more)


def colour_bar(figure: Figure, image: AxesImage, where: tuple[float, float, float, float], what: str) -> None:
    """Draw the scale of the colours at a place in inches: left, bottom, width, height."""
    bar = figure.colorbar(image, cax=place(figure, *where), extend="both", extendfrac=0.03)
    bar.outline.set_linewidth(0.6)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    bar.set_label(what, rotation=90 if len(what) > 2 else 0)


def check_methods(methods: object, form: str, dimensions: int) -> dict[str, Tensor]:
    """Return trajectories by name, on the CPU.

    Raises:
        InvalidSetting: If there are none by name.
        InvalidState: If one has another form, or another shape of its states than the first.
    """
    if not isinstance(methods, Mapping) or not methods or not all(isinstance(name, str) for name in methods):
        raise InvalidSetting(f"methods must be a dict of trajectories by name, at least one, got {brief(methods)}.")
    found: dict[str, Tensor] = {}
    for name, path in methods.items():
        if not isinstance(path, Tensor) or not path.is_floating_point() or path.ndim != dimensions or not path.numel():
            raise InvalidState(f"{name!r} must be {form} floating point, one trajectory, got {brief(path)}.")
        found[name] = path.detach().cpu()
    wanted = next(iter(found.values())).shape[1:]
    for name, path in found.items():
        if path.shape[1:] != wanted:
            raise InvalidState(f"all methods must have states of shape {tuple(wanted)}, {name!r} has {brief(path)}.")
    return found


def colour_limit(limit: float | None, values: Tensor) -> float:
    """Return the value of the strongest colours: given, or what nearly all of the finite values lie within.

    Raises:
        InvalidSetting: If the given one is not positive.
    """
    if limit is not None:
        return check_positive(limit, "limit")
    sizes = values[torch.isfinite(values)].abs().double().numpy()
    found = float(np.quantile(sizes, _SHARE)) if sizes.size else 0.0
    return found if found > 0 else 1.0


def mark_gone(axes: Axes, text: str = "blown up") -> None:
    """Say that there is nothing to see."""
    axes.set_facecolor(GONE)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=SOFT)
