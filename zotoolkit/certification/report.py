"""Certifications side by side: a table, rows for a file, a summary, and baselines that any of them must beat."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zotoolkit.certification.bounds import binomial_interval
from zotoolkit.certification.certificate import Certification
from zotoolkit.compare.text import align
from zotoolkit.errors import InvalidLabels, InvalidSetting

_COLUMNS = 7
IMAGE_COLUMNS = (
    "index",
    "label",
    "selected",
    "predicted",
    "radius",
    "p_lower",
    "successes",
    "asked",
    "failed",
    "n",
    "alpha",
    "sigma",
)
"""Columns of a row of `image_rows`."""


@dataclass(frozen=True)
class ConstantClassifier:
    """The classifier that always answers the most frequent class: certified at every radius, and useless.

    Attributes:
        label: The class.
        correct: How many images are of it.
        images: How many there are.
    """

    label: int
    correct: int
    images: int

    @classmethod
    def of(cls, y: ArrayLike) -> ConstantClassifier:
        """Return the one that does best on `(N,)` true classes.

        Examples:
            >>> ConstantClassifier.of([3, 1, 3, 2])
            ConstantClassifier(label=3, correct=2, images=4)
        """
        labels, counts = np.unique(np.asarray(y), return_counts=True)
        return cls(int(labels[counts.argmax()]), int(counts.max()), int(counts.sum()))

    @property
    def accuracy(self) -> float:
        """Its accuracy, clean and certified at any radius."""
        return self.correct / self.images


def default_radii(reach: float) -> list[float]:
    """Return at most 8 round radii from 0 up to what can be certified.

    Args:
        reach: The largest radius that can be certified.

    Examples:
        >>> default_radii(0.8)
        [0.0, 0.25, 0.5, 0.75]
        >>> default_radii(60.0)
        [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    """
    if reach <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(reach / _COLUMNS))
    step = next(factor * power for factor in (1, 2.5, 5, 10) if factor * power * _COLUMNS >= reach)
    return [round(i * step, 12) for i in range(int(reach / step * (1 + 1e-12)) + 1)]


def table(
    certifications: Mapping[str, Certification], radii: Sequence[float] | None = None, confidence: float = 0.95
) -> str:
    """Return certifications side by side, with the constant classifier below them.

    Args:
        certifications: By name, in the order of the rows; baselines among them.
        radii: Columns; by default round ones up to what the first can certify.
        confidence: Of the intervals in brackets, which are for the draw of the images.

    Raises:
        InvalidLabels: If true classes are not known, or not the same in all.
        InvalidSetting: If there is no certification.
    """
    first = _first(certifications)
    radii = default_radii(first.max_radius) if radii is None else list(radii)
    constant = shared_constant(certifications)
    lines = [["certified accuracy at radius", *(f"{r:g}" for r in radii), "mean radius", "abstained", "clean"]]
    for name, one in certifications.items():
        low, high = one.accuracy_bounds(radii, confidence)
        cells = _shares(one.certified_accuracy(radii), low, high)
        cells += [f"{one.average_certified_radius:.4f}", f"{one.abstention_rate:.3f}", f"{one.clean_accuracy:.3f}"]
        lines.append([name, *cells])
    share = np.full(len(radii), constant.accuracy)
    ends = binomial_interval(constant.correct, constant.images, confidence)
    cells = _shares(share, *(np.full(len(radii), float(end)) for end in ends))
    lines.append([f"always class {constant.label}", *cells, "", "0.000", f"{constant.accuracy:.3f}"])
    return "\n".join([align(lines), "", _note(certifications, confidence)])


def csv_rows(
    certifications: Mapping[str, Certification], radii: Sequence[float] | None = None, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Return one row a certification and radius, the constant classifier last, with unrounded numbers.

    Args:
        certifications: By name.
        radii: By default round ones up to what the first can certify.
        confidence: Of the intervals.

    Returns:
        Rows with name, sigma, n, alpha, images, radius, certified_accuracy, low, high, average_certified_radius,
        abstention_rate, clean_accuracy.

    Raises:
        InvalidLabels: If true classes are not known, or not the same in all.
        InvalidSetting: If there is no certification.
    """
    first = _first(certifications)
    radii = default_radii(first.max_radius) if radii is None else list(radii)
    constant = shared_constant(certifications)
    rows: list[dict[str, Any]] = []
    for name, one in certifications.items():
        low, high = one.accuracy_bounds(radii, confidence)
        about = {"name": name, "sigma": one.sigma, "n": one.n, "alpha": one.alpha, "images": len(one)}
        figures = {
            "average_certified_radius": one.average_certified_radius,
            "abstention_rate": one.abstention_rate,
            "clean_accuracy": one.clean_accuracy,
        }
        for place, share in enumerate(one.certified_accuracy(radii).tolist()):
            ends = {"low": float(low[place]), "high": float(high[place])}
            rows.append(about | {"radius": radii[place], "certified_accuracy": share} | ends | figures)
    low, high = binomial_interval(constant.correct, constant.images, confidence)
    for radius in radii:
        about = {"name": f"always class {constant.label}", "sigma": None, "n": None, "alpha": None}
        about |= {"images": constant.images, "radius": radius, "certified_accuracy": constant.accuracy}
        figures = {"average_certified_radius": None, "abstention_rate": 0.0, "clean_accuracy": constant.accuracy}
        rows.append(about | {"low": float(low), "high": float(high)} | figures)
    return rows


def image_rows(certification: Certification) -> list[dict[str, Any]]:
    """Return one row an image: its certificate and the counts behind it."""
    labels = [None] * len(certification) if certification.y is None else certification.y.tolist()
    columns = [
        certification.indices.tolist(),
        labels,
        certification.selected.tolist(),
        certification.predicted.tolist(),
        certification.radii.tolist(),
        certification.p_lower.tolist(),
        certification.successes.tolist(),
        certification.asked.tolist(),
        certification.failed.tolist(),
    ]
    same = (certification.n, certification.alpha, certification.sigma)
    return [dict(zip(IMAGE_COLUMNS, (*row, *same), strict=True)) for row in zip(*columns, strict=True)]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, numbers with all their digits.

    Examples:
        >>> csv_text([{"a": 1, "b": 0.1}, {"a": 2, "b": None}]).split()
        ['a,b', '1,0.1', '2,']
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def summary(certification: Certification, radii: Sequence[float] | None = None, confidence: float = 0.95) -> dict:
    """Return what a certification came to, as JSON has it; accuracies only where true classes are known.

    Args:
        certification: Of one classifier.
        radii: By default round ones up to what it can certify.
        confidence: Of the intervals.
    """
    settings = certification.settings
    found: dict[str, Any] = {
        "images": len(certification),
        "sigma": certification.sigma,
        "n0": settings.n0,
        "n": certification.n,
        "alpha": certification.alpha,
        "seed": settings.seed,
        "early_abstention": settings.early_abstention,
        "futility": settings.futility,
        "max_radius": certification.max_radius,
        "queries": certification.queries,
        "failed": int(certification.failed.sum()),
        "abstention_rate": certification.abstention_rate,
        "mean_radius": float(certification.radii.mean()),
    }
    if certification.y is None:
        return found
    radii = default_radii(certification.max_radius) if radii is None else list(radii)
    low, high = certification.accuracy_bounds(radii, confidence)
    constant = ConstantClassifier.of(certification.y)
    return found | {
        "clean_accuracy": certification.clean_accuracy,
        "average_certified_radius": certification.average_certified_radius,
        "confidence": confidence,
        "certified_accuracy": [
            {"radius": radius, "share": share, "low": low_end, "high": high_end}
            for radius, share, low_end, high_end in zip(
                radii, certification.certified_accuracy(radii).tolist(), low.tolist(), high.tolist(), strict=True
            )
        ],
        "constant_classifier": {"label": constant.label, "accuracy": constant.accuracy},
    }


def _first(certifications: Mapping[str, Certification]) -> Certification:
    for one in certifications.values():
        return one
    raise InvalidSetting("there must be at least one certification to report, got none.")


def shared_constant(certifications: Mapping[str, Certification]) -> ConstantClassifier:
    """Return the constant classifier of the true classes that all certifications share."""
    first = _first(certifications)
    for name, one in certifications.items():
        if one.y is None or first.y is None:
            raise InvalidLabels(f"a report needs the true classes, and {name!r} has none; certify with y.")
        if sorted(zip(one.indices, one.y, strict=True)) != sorted(zip(first.indices, first.y, strict=True)):
            raise InvalidLabels(f"certifications in a report must be of the same images, but {name!r} has other ones.")
    return ConstantClassifier.of(first.y if first.y is not None else ())


def _shares(share: NDArray, low: NDArray, high: NDArray) -> list[str]:
    return [f"{s:.3f} [{a:.3f}, {b:.3f}]" for s, a, b in zip(share, low, high, strict=True)]


def _note(certifications: Mapping[str, Certification], confidence: float) -> str:
    settings = {f"sigma={one.sigma:g}, n={one.n:,}, alpha={one.alpha:g}" for one in certifications.values()}
    shared = f" All at {settings.pop()}." if len(settings) == 1 else ""
    images = len(_first(certifications))
    return f"{images:,} images; in brackets the exact {100 * confidence:g} % interval for their draw.{shared}"
