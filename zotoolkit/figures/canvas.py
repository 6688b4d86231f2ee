"""What every figure shares: its frame, its labels at the curves' ends, its files for print and its form on the page."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zotoolkit.errors import MissingExtra
from zotoolkit.figures.style import FAINT, INK, SOFT, LineStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_SIZE = (6.4, 3.9)  # inches
_DPI = 200
_LABEL_SIZE = 9.0  # points
_LABEL_GAP = 12.5  # points between the centres of two labels
_LONGEST_LABEL = 30  # letters
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlepad": 9,
    "axes.labelsize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "round",
    "axes.formatter.use_mathtext": True,
    "svg.fonttype": "path",
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class Picture:
    """A figure, drawn.

    Attributes:
        name: File name without ending.
        caption: What it shows, in words.
        problem: Label of its problem; empty if it is about all of them.
        files: For print, by ending: "png", "pdf" or "svg".
        inline: An SVG element for the page: transparent, its ink and grid in the page's colours.
    """

    name: str
    caption: str
    problem: str
    files: dict[str, bytes]
    inline: str


def check_matplotlib() -> None:
    """Make sure that figures can be drawn.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("figures need matplotlib: pip install 'zotoolkit[plot]'.") from error


@contextlib.contextmanager
def canvas(labels: Iterable[str]) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure with one pair of axes in the house style, with room for the labels beside it.

    No global state of matplotlib is touched.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=_SIZE)
        font = FontProperties(family="DejaVu Sans", size=_LABEL_SIZE)
        widest = max(TextPath((0, 0), _shortened(label), prop=font).get_extents().width for label in labels)
        figure.subplots_adjust(left=0.115, right=1 - (widest + 26) / (72 * _SIZE[0]), bottom=0.155, top=0.895)
        yield figure, figure.add_subplot()


def finish(
    figure: Figure, formats: Sequence[str], name: str, caption: str, problem: str = "", note: str = ""
) -> Picture:
    """Return a figure in all its forms.

    Args:
        figure: What was drawn on.
        formats: Of the files: "png", "pdf" or "svg".
        name: File name without ending.
        caption: What it shows.
        problem: Label of its problem, if it is about one.
        note: Small print for the files, which have no caption.
    """
    label = f"{problem}: {caption}" if problem else caption
    inline = _for_page(encoded(figure, "svg", name, transparent=True).decode(), name, label)
    figure.text(0.995, 0.012, note, ha="right", va="bottom", fontsize=6.5, color=SOFT)
    files = {ending: encoded(figure, ending, name, facecolor="white") for ending in formats}
    return Picture(name, caption, problem, files, inline)


def encoded(figure: Figure, ending: str, name: str, **options: Any) -> bytes:
    """Return a figure as the content of a file; the same figure gives the same bytes.

    Args:
        figure: What was drawn on.
        ending: "png", "pdf" or "svg".
        name: Of the figure, from which ids in an SVG are made.
        **options: For matplotlib's `savefig`.
    """
    import matplotlib

    # Neither date nor version: the same results give the same file.
    nothing = {"png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer"), "svg": ("Date", "Creator")}
    buffer = io.BytesIO()
    # Ids that are drawn by lot would be others every time.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format=ending, dpi=_DPI, metadata=dict.fromkeys(nothing[ending]), **options)
    return buffer.getvalue()


def set_log(axis: Axis) -> None:
    """Make an axis logarithmic, its ticks plain numbers where it spans little."""
    from matplotlib.ticker import LogFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # pyright: ignore[reportAttributeAccessIssue]
    low, high = sorted(axis.get_view_interval())
    if low >= 1e-3 and high <= 1e4 and high / low < 30:
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.6, 0.7)))


def label_ends(axes: Axes, ends: Mapping[str, float], looks: Mapping[str, LineStyle]) -> None:
    """Name the curves at their right ends, pushed apart where they would overlap.

    Args:
        axes: With their final limits.
        ends: Where each curve ends, in data.
        looks: Of each curve.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    height = axes.get_window_extent().height * 72 / figure.dpi
    wanted = {}
    # From the lowest up, so that those that left the picture at one end keep their order.
    for solver, value in sorted(ends.items(), key=lambda end: end[1]):
        if np.isfinite(value):
            place = axes.transAxes.inverted().transform(axes.transData.transform((axes.get_xlim()[1], value)))[1]
            wanted[solver] = float(np.clip(place, 0.0, 1.0)) * height
    for solver, at in spread(wanted, _LABEL_GAP, height).items():
        line: Any = {"arrowstyle": "-", "color": looks[solver].colour, "linewidth": 0.7}
        axes.annotate(
            _shortened(solver),
            xy=(1.0, wanted[solver] / height),
            xytext=(14, at - wanted[solver]),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            ha="left",
            fontsize=_LABEL_SIZE,
            color=looks[solver].colour,
            annotation_clip=False,
            arrowprops={**line, "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)},
        )


def spread(wanted: Mapping[str, float], gap: float, height: float) -> dict[str, float]:
    """Return places at least a gap apart, in order, as near as may be to the wanted ones.

    Examples:
        >>> spread({"a": 0.0, "b": 1.0, "c": 50.0}, gap=10.0, height=100.0)
        {'a': 0.0, 'b': 10.0, 'c': 50.0}
    """
    # Labels that touch form a cluster, centred on the mean of what its members want; clusters that touch are joined.
    clusters: list[tuple[list[str], float]] = []
    for name in sorted(wanted, key=lambda name: wanted[name]):
        members, begin = [name], wanted[name]
        while clusters and clusters[-1][1] + gap * len(clusters[-1][0]) > begin:
            members = clusters.pop()[0] + members
            length = gap * (len(members) - 1)
            centre = sum(wanted[member] for member in members) / len(members)
            begin = max(0.0, min(centre - length / 2, height - length))
        clusters.append((members, begin))
    return {member: begin + gap * i for members, begin in clusters for i, member in enumerate(members)}


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _for_page(svg: str, name: str, label: str) -> str:
    """Return an SVG element that scales with the page and takes its colours; its ids begin with the figure's name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' id="', f' id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    # Two digits after the point are a fiftieth of a pixel, and half of the file.
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    for colour, name in ((INK, "ink"), (FAINT, "faint"), (SOFT, "soft")):
        svg = re.sub(re.escape(colour), f"var(--{name})", svg, flags=re.IGNORECASE)
    label = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return re.sub(
        r'<svg ([^>]*?)height="[^"]*" ', lambda m: f'<svg role="img" aria-label="{label}" {m[1]}', svg, count=1
    )
