"""How curves look: colours that colour-blind readers can tell apart, and dashes and markers for those who print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

INK = "#1b1f24"
"""Axes, text and reference lines; the report swaps it for the page's text colour."""
FAINT = "#d5d9de"
"""Grid lines; swapped likewise."""
SOFT = "#68707a"
"""Notes; swapped likewise."""

# Okabe and Ito, Color Universal Design, 2008, without its yellow and black; the blue and green a shade lighter, so that
# they also stand out on a dark page.
_COLOURS = ("#0b7fc4", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    (0, (6, 1.5)),
    (0, (3, 1.2, 1, 1.2)),
    (0, (1.2, 1.2)),
    (0, (8, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")


@dataclass(frozen=True)
class LineStyle:
    """A solver's look.

    Attributes:
        colour: Hex colour.
        dashes: A matplotlib line style.
        marker: A matplotlib marker; empty for none.
    """

    colour: str
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


def styles(solvers: Sequence[str], references: Iterable[str] = ()) -> dict[str, LineStyle]:
    """Return a look for every solver: always the same for the same list.

    Args:
        solvers: Labels, in their order.
        references: Those that are reference lines: dashed, in the ink's colour.

    Examples:
        >>> looks = styles(["CGE", "RGE", "SGD"], references=["SGD"])
        >>> looks["SGD"].colour == INK, looks["CGE"].colour != looks["RGE"].colour
        (True, True)
    """
    lines = set(references)
    found: dict[str, LineStyle] = {}
    competitors = 0
    for solver in solvers:
        if solver in lines:
            found[solver] = LineStyle(INK, (0, (5, 3)), "")
        else:
            found[solver] = LineStyle(
                _COLOURS[competitors % len(_COLOURS)],
                _DASHES[competitors % len(_DASHES)],
                _MARKERS[competitors % len(_MARKERS)],
            )
            competitors += 1
    return found
