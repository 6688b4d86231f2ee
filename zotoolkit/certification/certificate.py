"""Certificates from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zotoolkit.certification.bounds import (
    binomial_interval,
    check_probability,
    least_count,
    lower_bound,
    max_radius,
    radius_of,
    warn_of_radii,
)
from zotoolkit.certification.counts import ABSTAIN, ImageCounts
from zotoolkit.certification.inputs import check_labels
from zotoolkit.certification.settings import SmoothingSettings
from zotoolkit.checks import check_choice, check_least
from zotoolkit.errors import InvalidLabels, InvalidSetting, UndecidedAlpha, brief

_STAGES = ("selection", "estimation")


@dataclass(frozen=True, eq=False)
class Certification:
    """The certificates of N images, computed from their counts and never rounded.

    Args:
        settings: What the counts were made with.
        images: Counts of each image.
        alpha: Probability at most with which an image's certificate is wrong. Choose it before you look: to try several
            and report the best voids what it says.

    Raises:
        UndecidedAlpha: If images were stopped early that might have been certified at this alpha.
        InvalidSetting: If alpha is outside (0, 1), or there is no image.
        InvalidLabels: If only some of the images have a true class.
    """

    settings: SmoothingSettings
    images: tuple[ImageCounts, ...]
    alpha: float

    def __post_init__(self) -> None:
        if not self.images:
            raise InvalidSetting("a certification must have at least one image, got none.")
        if len({image.label is None for image in self.images}) > 1:
            raise InvalidLabels("either all images or none must have a true class, got some of them.")
        if check_probability(self.alpha, "alpha") > self.settings.alpha:
            self._check_decided()

    def at(self, alpha: float) -> Certification:
        """Return the certificates of the same counts at another alpha.

        Every alpha up to that of the run is valid. A larger one is valid if no image was stopped early that might
        have been certified at it; after a run with `early_abstention=False` that is every alpha.

        Raises:
            UndecidedAlpha: If it is not valid.
            InvalidSetting: If it is outside (0, 1).
        """
        return replace(self, alpha=alpha)

    def _check_decided(self) -> None:
        least = least_count(self.n, self.alpha)
        for image in self.images:
            missing = self.n - image.estimation.asked
            if missing and image.selected != ABSTAIN and image.successes + missing >= least:
                raise UndecidedAlpha(
                    f"image {image.index} was stopped early at alpha={self.settings.alpha:g} and might have been "
                    f"certified at alpha={self.alpha:g}; certify again with that alpha, or with "
                    "early_abstention=False."
                )

    # Images ---------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return N."""
        return len(self.images)

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise, in units of the images."""
        return self.settings.sigma

    @property
    def n(self) -> int:
        """Samples behind every certificate."""
        return self.settings.n

    @property
    def max_radius(self) -> float:
        """The largest radius that n samples can certify at this alpha."""
        return max_radius(self.n, self.alpha, self.sigma)

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """`(N,)` keys of the images."""
        return np.array([image.index for image in self.images], dtype=np.int64)

    @cached_property
    def y(self) -> NDArray[np.int64] | None:
        """`(N,)` true classes; None if they are not known."""
        labels = [image.label for image in self.images]
        return None if None in labels else np.array(labels, dtype=np.int64)

    @cached_property
    def selected(self) -> NDArray[np.int64]:
        """`(N,)` classes that the n0 samples chose, without abstention; -1 where every query failed."""
        return np.array([image.selected for image in self.images], dtype=np.int64)

    @cached_property
    def successes(self) -> NDArray[np.int64]:
        """`(N,)` samples of the estimation stage that voted for the selected class."""
        return np.array([image.successes for image in self.images], dtype=np.int64)

    @cached_property
    def asked(self) -> NDArray[np.int64]:
        """`(N,)` samples of the estimation stage, failed ones included: n, or fewer where it was stopped early."""
        return np.array([image.estimation.asked for image in self.images], dtype=np.int64)

    @cached_property
    def failed(self) -> NDArray[np.int64]:
        """`(N,)` queries that failed, in both stages."""
        return np.array([image.selection.failed + image.estimation.failed for image in self.images], dtype=np.int64)

    @property
    def queries(self) -> int:
        """Samples asked about all images in both stages."""
        return int(self.asked.sum()) + sum(image.selection.asked for image in self.images)

    def votes(self, stage: str = "estimation") -> NDArray[np.int64]:
        """Return the `(N, classes)` votes of a stage.

        Args:
            stage: "selection" or "estimation".
        """
        check_choice(stage, _STAGES, "stage")
        seen = [max((*image.selection.votes, *image.estimation.votes), default=0) for image in self.images]
        table = np.zeros((len(self), max(self.settings.classes or 0, max(seen) + 1)), dtype=np.int64)
        for row, image in zip(table, self.images, strict=True):
            votes = (image.selection if stage == "selection" else image.estimation).votes
            row[list(votes)] = list(votes.values())
        return table

    # Certificates ---------------------------------------------------------------------------------------------------

    @cached_property
    def p_lower(self) -> NDArray[np.float64]:
        """`(N,)` lower bounds p_A of the selected class's probability; 0 where fewer than n samples were asked."""
        whole = self.asked == self.n
        return np.where(whole, lower_bound(np.where(whole, self.successes, 0), self.n, self.alpha), 0.0)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """`(N,)` classes that are certified, -1 where the smoothed classifier abstains: where p_A < 1/2."""
        return np.where(self.p_lower >= 0.5, self.selected, ABSTAIN)

    @cached_property
    def radii(self) -> NDArray[np.float64]:
        """`(N,)` certified l2 radii in units of the images: the prediction is constant below it; 0 if abstained."""
        return np.where(self.predicted == ABSTAIN, 0.0, radius_of(self.p_lower, self.sigma))

    @property
    def abstained(self) -> NDArray[np.bool_]:
        """`(N,)` where the smoothed classifier abstains."""
        return self.predicted == ABSTAIN

    @property
    def abstention_rate(self) -> float:
        """Share of the images where the smoothed classifier abstains."""
        return float(self.abstained.mean())

    # Figures that need the true classes -----------------------------------------------------------------------------

    @property
    def correct(self) -> NDArray[np.bool_]:
        """`(N,)` where the certified class is the true one.

        Raises:
            InvalidLabels: If the true classes are not known.
        """
        return self.predicted == self._labels()

    @property
    def clean_accuracy(self) -> float:
        """Share of images whose selected class is the true one: the smoothed classifier's accuracy, not abstaining.

        Raises:
            InvalidLabels: If the true classes are not known.
        """
        return float((self.selected == self._labels()).mean())

    @property
    def average_certified_radius(self) -> float:
        """Mean radius of all images, where those not certified as their true class count 0.

        Source: Zhai et al., MACER, ICLR 2020.

        Raises:
            InvalidLabels: If the true classes are not known.
        """
        return float(np.where(self.correct, self.radii, 0.0).mean())

    def certified_accuracy(self, radii: ArrayLike) -> NDArray[np.float64]:
        """Return the share of images certified as their true class with at least these radii.

        Args:
            radii: One or several, in units of the images, at least 0; any shape.

        Returns:
            Shares in the shape of `radii`.

        Raises:
            InvalidLabels: If the true classes are not known.
            InvalidSetting: If a radius is negative.

        Warns:
            RadiusWarning: If a radius is beyond what n samples can certify; its share is 0 whatever the classifier.
        """
        return self._certified(radii) / len(self)

    def accuracy_bounds(
        self, radii: ArrayLike, confidence: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return exact binomial intervals of the certified accuracy, for the draw of the N images.

        Args:
            radii: As for `certified_accuracy`.
            confidence: Probability at least with which an interval holds the accuracy over all images.

        Returns:
            Low and high ends in the shape of `radii`.
        """
        return binomial_interval(self._certified(radii), len(self), confidence)

    def _certified(self, radii: ArrayLike) -> NDArray[np.int64]:
        """Return how many images are certified as their true class with at least these radii."""
        try:
            wanted = np.asarray(radii, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidSetting(f"radii must be one or several numbers, got {brief(radii)}.") from error
        for radius in wanted.flat:
            check_least(float(radius), 0, "radius")
        warn_of_radii(wanted.ravel().tolist(), self.n, self.alpha, self.sigma)
        return (self.correct & (self.radii >= wanted[..., None])).sum(axis=-1)

    def _labels(self) -> NDArray[np.int64]:
        if self.y is None:
            raise InvalidLabels("accuracies need the true classes; certify with y, or use with_labels(y).")
        return self.y

    def with_labels(self, y: Sequence[int] | NDArray | None) -> Certification:
        """Return the same certificates with `(N,)` true classes, or with none.

        Raises:
            InvalidLabels: If they are not N integers of at least 0.
        """
        labels = [None] * len(self) if y is None else check_labels(y, len(self), self.settings.classes).tolist()
        images = tuple(replace(image, label=label) for image, label in zip(self.images, labels, strict=True))
        return replace(self, images=images)

    def __repr__(self) -> str:
        """Return the settings and what came out."""
        return (
            f"<Certification: {len(self)} images, sigma={self.sigma:g}, n={self.n:,}, alpha={self.alpha:g}, "
            f"{100 * self.abstention_rate:.1f} % abstained, mean radius {self.radii.mean():.4g}>"
        )
