"""Certified accuracy against radius, several certifications in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from zotoolkit.certification.certificate import Certification
from zotoolkit.certification.report import shared_constant
from zotoolkit.checks import check_choice
from zotoolkit.compare.plots import FORMATS
from zotoolkit.figures.canvas import Picture, canvas, check_matplotlib, finish, label_ends
from zotoolkit.figures.style import styles

_POINTS = 401


def draw_curves(
    certifications: Mapping[str, Certification],
    *,
    formats: Sequence[str] = ("png",),
    title: str = "Certified accuracy",
    confidence: float = 0.95,
    radius: float | None = None,
) -> Picture:
    """Draw certified accuracy against radius, with bands for the draw of the images.

    Args:
        certifications: By name; baselines among them. The classifier that always answers the most frequent class is
            added as a dashed line.
        formats: Of the files: some of "png", "pdf" and "svg".
        title: Above the axes.
        confidence: Of the bands, which are exact binomial intervals at each radius.
        radius: Where the axis ends; by default a little beyond the largest radius that is certified.

    Raises:
        InvalidSetting: If a format is unknown or there is no certification.
        InvalidLabels: If true classes are not known, or not the same in all.
        MissingExtra: If matplotlib is not installed.
    """
    for ending in formats:
        check_choice(ending, FORMATS, "format")
    check_matplotlib()
    constant = shared_constant(certifications)
    floor = f"always class {constant.label}"
    looks = styles([*certifications, floor], references=[floor])
    largest = max(float(one.radii.max()) for one in certifications.values())
    end = 1.04 * largest if radius is None else radius
    end = end if end > 0 else max(one.sigma for one in certifications.values())
    ends = {floor: constant.accuracy}
    with canvas([*certifications, floor]) as (figure, axes):
        axes.set_xlim(0, end)
        axes.set_ylim(0, 1.02)
        for name, one in certifications.items():
            grid = _grid(one, end)
            # Beyond the reach of n samples the curve is 0, which needs no warning in a picture.
            share = (one.correct & (one.radii >= grid[:, None])).mean(axis=1)
            within = grid <= one.max_radius
            low, high = one.accuracy_bounds(grid[within], confidence)
            axes.fill_between(grid[within], low, high, color=looks[name].colour, alpha=0.16, linewidth=0, step="pre")
            axes.plot(
                grid,
                share,
                color=looks[name].colour,
                linestyle=looks[name].dashes,
                linewidth=1.9,
                marker=looks[name].marker or None,
                markersize=4.6,
                markeredgewidth=0,
                markevery=0.17,
                drawstyle="steps-pre",
            )
            ends[name] = float(share[-1])
        axes.axhline(constant.accuracy, color=looks[floor].colour, linestyle=looks[floor].dashes, linewidth=1.2)
        axes.set_xlabel("radius r (l2, in units of the images)")
        axes.set_ylabel("share certified as their true class")
        axes.set_title(title, loc="left", fontweight="bold")
        label_ends(axes, ends, looks)
        first = next(iter(certifications.values()))
        note = f"{len(first):,} images; band: exact {100 * confidence:g} % binomial interval for their draw."
        return finish(figure, formats, "certified-accuracy", "Certified accuracy against radius.", note=note)


def _grid(certification: Certification, end: float) -> np.ndarray:
    """Return radii at which the curve is drawn: every one at which it falls, and a fine grid between."""
    falls = certification.radii[certification.correct]
    return np.unique(np.concatenate((np.linspace(0.0, end, _POINTS), falls[falls <= end])))
