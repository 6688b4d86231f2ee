"""Certificates from counts that are written down here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zotoolkit.certification import Certification, ImageCounts, SmoothingSettings
from zotoolkit.certification.counts import Tally
from zotoolkit.errors import InvalidLabels, InvalidSetting, RadiusWarning

SETTINGS = SmoothingSettings(sigma=0.5, n0=10, n=1000, alpha=0.001)


def image(index: int, selected: int, successes: int, label: int | None, failed: int = 0) -> ImageCounts:
    rest = 1000 - successes - failed
    return ImageCounts(index, Tally({selected: 10}), Tally({selected: successes, 9: rest}, failed), label)


def made(*images: ImageCounts) -> Certification:
    return Certification(SETTINGS, images, SETTINGS.alpha)


FOUR = made(image(0, 3, 1000, 3), image(1, 4, 900, 4), image(2, 5, 900, 4), image(3, 1, 500, 1))


def test_radii_and_classes() -> None:
    bound = stats.beta.ppf(0.001, 900, 101)
    assert FOUR.predicted.tolist() == [3, 4, 5, -1]
    assert FOUR.selected.tolist() == [3, 4, 5, 1]
    assert FOUR.radii.tolist() == pytest.approx(
        [0.5 * stats.norm.ppf(0.001**0.001), *[0.5 * stats.norm.ppf(bound)] * 2, 0.0], rel=1e-12
    )
    assert FOUR.radii[0] == FOUR.max_radius
    assert FOUR.abstention_rate == 0.25
    assert FOUR.clean_accuracy == 0.75
    assert FOUR.average_certified_radius == pytest.approx((FOUR.radii[0] + FOUR.radii[1]) / 4)


def test_certified_accuracy_counts_the_radius_itself() -> None:
    r = FOUR.radii
    radii = [0.0, float(r[1]), float(np.nextafter(r[1], 9)), float(r[0])]
    assert FOUR.certified_accuracy(radii).tolist() == [0.5, 0.5, 0.25, 0.25]
    assert float(FOUR.certified_accuracy(0.1)) == 0.5
    assert FOUR.certified_accuracy(np.zeros((2, 3))).shape == (2, 3)
    low, high = FOUR.accuracy_bounds(radii)
    wanted = stats.binomtest(2, 4).proportion_ci(0.95, method="exact")
    assert (low[0], high[0]) == pytest.approx((wanted.low, wanted.high))


def test_failures_make_a_certificate_smaller() -> None:
    some = made(image(0, 3, 900, 3, failed=100))
    assert some.radii[0] == FOUR.radii[1]
    assert some.failed.tolist() == [100]


def test_radii_out_of_reach_warn() -> None:
    with pytest.warns(RadiusWarning, match="radius 2 with n=1,000"):
        assert FOUR.certified_accuracy([0.1, 2.0]).tolist() == [0.5, 0.0]


def test_fewer_samples_never_certify() -> None:
    short = ImageCounts(0, Tally({3: 10}), Tally({3: 999}), 3)
    assert made(short).predicted.tolist() == [-1]
    assert made(short).p_lower.tolist() == [0.0]


def test_ties_go_to_the_lowest_class() -> None:
    assert Tally({7: 5, 2: 5, 9: 4}).top() == 2
    assert Tally({}, failed=3).top() == -1


def test_votes_are_whole() -> None:
    assert FOUR.votes().sum(axis=1).tolist() == [1000] * 4
    assert FOUR.votes("selection")[0].tolist() == [0, 0, 0, 10, 0, 0, 0, 0, 0, 0]
    with pytest.raises(InvalidSetting, match="stage must be one of 'selection', 'estimation'"):
        FOUR.votes("estimaton")


def test_labels_can_be_given_and_taken() -> None:
    assert FOUR.with_labels(None).y is None
    assert FOUR.with_labels([5, 5, 5, 5]).correct.tolist() == [False, False, True, False]
    for figure in ("correct", "clean_accuracy", "average_certified_radius"):
        with pytest.raises(InvalidLabels, match="need the true classes"):
            getattr(FOUR.with_labels(None), figure)
    with pytest.raises(InvalidLabels, match="for each of the 4 images"):
        FOUR.with_labels([1])
    with pytest.raises(InvalidLabels, match="either all images or none"):
        made(image(0, 3, 1000, 3), image(1, 3, 1000, None))


def test_bad_input() -> None:
    with pytest.raises(InvalidSetting, match="at least one image"):
        made()
    with pytest.raises(InvalidSetting, match="radius must be a finite number of at least 0"):
        FOUR.certified_accuracy([-0.1])
    with pytest.raises(InvalidSetting, match="radii must be one or several numbers"):
        FOUR.certified_accuracy(["far"])


def test_it_says_what_it_is() -> None:
    assert repr(FOUR).startswith("<Certification: 4 images, sigma=0.5, n=1,000, alpha=0.001, 25.0 % abstained")
