"""certify: what it counts, that nothing but the key decides it, and what bad input gets."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn

from tests.certification.classifiers import Counting, half_space, three_way
from zotoolkit.certification import Certification, certify, merge
from zotoolkit.certification.bounds import least_count
from zotoolkit.certification.noise import Stage, noisy
from zotoolkit.errors import (
    BudgetSpent,
    CheckpointMismatch,
    ClassifierFailed,
    InputMutated,
    InvalidAnswers,
    InvalidImages,
    InvalidLabels,
    InvalidSetting,
    RadiusWarning,
    UndecidedAlpha,
)

X = torch.tensor([[-1.0, 0.2], [0.02, -0.4], [0.5, 0.0], [0.3, 0.4]])
Y = [0, 1, 1, 0]


def counts(certification: Certification) -> list[dict[str, Any]]:
    return [image.as_dict() for image in certification.images]


def test_counts_are_the_votes_on_the_keyed_noise() -> None:
    found = certify(three_way, X, sigma=0.5, n0=50, n=300, seed=9, early_abstention=False)
    for row, image in enumerate(X):
        for stage, count, name in ((Stage.SELECTION, 50, "selection"), (Stage.ESTIMATION, 300, "estimation")):
            votes = three_way(noisy(image, 0.5, 9, row, stage, 0, count)).argmax(1).bincount(minlength=3)
            assert found.votes(name)[row].tolist() == votes.tolist()
    assert found.queries == 4 * 350


def test_radii_tend_to_the_distance_from_the_boundary() -> None:
    found = certify(half_space, X, Y, sigma=0.5, n=100_000, chunk=5000)
    assert found.predicted.tolist() == [0, -1, 1, 1]
    distances = X[:, 0].abs().numpy()[[0, 2, 3]]
    assert (found.radii[[0, 2, 3]] < distances).all()
    assert found.radii[[0, 2, 3]] == pytest.approx(distances, abs=0.02)
    assert found.p_lower[2] < stats.norm.cdf(0.5 / 0.5) < found.successes[2] / found.n + 0.01
    assert found.correct.tolist() == [True, False, True, False]
    assert found.clean_accuracy >= 0.5


def test_a_certificate_is_wrong_no_more_often_than_alpha_says() -> None:
    # P(1) = Phi(0.2): at alpha = 0.2 the bound may lie above it in a fifth of the seeds.
    x, alpha = torch.full((400, 1), 0.1), 0.2
    found = certify(half_space, x, sigma=0.5, n0=20, n=200, alpha=alpha)
    wrong = ((found.p_lower > stats.norm.cdf(0.2)) & (found.predicted == 1)).mean()
    assert 0.1 < wrong < alpha + 3 * (alpha / 400) ** 0.5


@given(
    chunk=st.integers(1, 700),
    n0=st.integers(1, 90),
    futility=st.sampled_from([None, 0.01]),
    shape=st.sampled_from([(2,), (1, 8, 8), (3, 5)]),
)
@settings(max_examples=25)
def test_the_chunk_size_changes_no_count(chunk: int, n0: int, futility: float | None, shape: tuple[int, ...]) -> None:
    x = torch.zeros(3, *shape).index_fill(0, torch.tensor([1]), 0.4)
    x.view(3, -1)[2, 0] = -0.05
    about: dict[str, Any] = {"sigma": 0.3, "n0": n0, "n": 640, "alpha": 0.01, "futility": futility}
    whole = certify(three_way, x, chunk=640, **about)
    asked = Counting(three_way)
    parts = certify(asked, x, chunk=chunk, **about)
    assert counts(parts) == counts(whole)
    assert max(asked.sizes) <= chunk


def test_workers_that_share_the_images_out_change_no_count() -> None:
    whole = certify(half_space, X, Y, sigma=0.5, n=500)
    rows = [[3, 0], [1, 2]]
    parts = [certify(half_space, X[r], np.array(Y)[r], sigma=0.5, n=500, indices=r) for r in rows]
    together = merge(parts)
    assert counts(together) == counts(whole)
    assert together.radii.tolist() == whole.radii.tolist()
    with pytest.raises(CheckpointMismatch, match="image 0 is in two parts"):
        merge([parts[0], whole])
    with pytest.raises(CheckpointMismatch, match="same settings"):
        merge([parts[0], certify(half_space, X, sigma=0.4, n=500)])
    with pytest.raises(CheckpointMismatch, match="at least one part"):
        merge([])


def test_seeds_differ_and_repeat() -> None:
    one, again, other = (certify(half_space, X, sigma=0.5, n=500, seed=seed) for seed in (1, 1, 2))
    assert counts(one) == counts(again)
    assert counts(one) != counts(other)


def test_it_takes_arrays_modules_estimators_and_objects() -> None:
    class Service:
        def predict(self, images: Tensor) -> Tensor:
            return half_space(images)

    x = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = certify(half_space, x, sigma=0.2, n=300)
    assert counts(certify(Service(), x.numpy(), sigma=0.2, n=300)) == counts(wanted)
    assert counts(certify(lambda images: half_space(images).numpy(), x, sigma=0.2, n=300)) == counts(wanted)
    assert counts(certify(lambda images: half_space(images).tolist(), x, sigma=0.2, n=300)) == counts(wanted)
    scores = certify(lambda images: nn.functional.one_hot(half_space(images), 2), x, sigma=0.2, n=300)
    assert counts(scores) == counts(wanted)

    class Network(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            first = images.flatten(1)[:, :1]
            return torch.cat((torch.zeros_like(first), first), dim=1)

    assert counts(certify(Network().eval(), x, sigma=0.2, n=300)) == counts(wanted)
    forest = RandomForestClassifier(5, random_state=0).fit(x.flatten(1).numpy(), half_space(x).numpy())
    of_forest = certify(forest, x, sigma=0.2, n=300)
    direct = certify(lambda images: torch.as_tensor(forest.predict(images.flatten(1).numpy())), x, sigma=0.2, n=300)
    assert counts(of_forest) == counts(direct)


def test_float64_images_stay_float64() -> None:
    def predict(images: Tensor) -> Tensor:
        assert images.dtype == torch.float64
        assert not torch.is_grad_enabled()
        return half_space(images)

    found = certify(predict, X.double(), sigma=0.5, n=200)
    assert counts(found)[0]["estimation"] == counts(certify(half_space, X, sigma=0.5, n=200))[0]["estimation"]


# Early abstention ---------------------------------------------------------------------------------------------------


def test_early_abstention_changes_no_outcome_and_saves_queries() -> None:
    x = torch.linspace(-0.2, 0.2, 21)[:, None]
    whole = certify(half_space, x, sigma=0.5, n=2000, early_abstention=False)
    early = certify(half_space, x, sigma=0.5, n=2000)
    assert early.predicted.tolist() == whole.predicted.tolist()
    assert early.radii.tolist() == whole.radii.tolist()
    assert early.queries < whole.queries
    assert (whole.asked == 2000).all()
    assert (early.predicted[early.asked < 2000] == -1).all()
    for alpha in (1e-3, 1e-4, 1e-9):
        assert early.at(alpha).radii.tolist() == whole.at(alpha).radii.tolist()


def test_a_larger_alpha_is_refused_where_it_is_not_decided() -> None:
    x = torch.linspace(-0.2, 0.2, 21)[:, None]
    early = certify(half_space, x, sigma=0.5, n=2000, alpha=1e-6)
    with pytest.raises(
        UndecidedAlpha, match=r"stopped early at alpha=1e-06 and might have been certified at alpha=0.4"
    ):
        early.at(0.4)
    whole = certify(half_space, x, sigma=0.5, n=2000, alpha=1e-6, early_abstention=False)
    assert whole.at(0.4).abstention_rate < whole.abstention_rate
    # Images that are far from certified leave even larger alphas decided.
    far = certify(lambda images: torch.randint(3, (len(images),), generator=_dice), x, sigma=0.5, n=2000)
    reach = int((far.successes + far.n - far.asked).max())
    for alpha in (0.0012, 0.002, 0.01, 0.4):
        if least_count(far.n, alpha) > reach:
            assert far.at(alpha).abstention_rate == 1.0
        else:
            with pytest.raises(UndecidedAlpha):
                far.at(alpha)
    assert least_count(far.n, 0.0012) > reach >= least_count(far.n, 0.4)


_dice = torch.Generator().manual_seed(0)


def test_futility_only_ever_abstains() -> None:
    x = torch.linspace(-0.3, 0.3, 31)[:, None]
    whole = certify(half_space, x, sigma=0.5, n=4000, early_abstention=False)
    futile = certify(half_space, x, sigma=0.5, n=4000, futility=0.2)
    certified = ~futile.abstained
    assert (futile.radii[certified] == whole.radii[certified]).all()
    assert (futile.radii <= whole.radii).all()
    with pytest.raises(UndecidedAlpha):
        certify(three_way, torch.zeros(30, 2), sigma=0.5, n=4000, futility=0.9).at(0.4)


def test_alphas_are_read_off_the_same_counts() -> None:
    found = certify(half_space, X, sigma=0.5, n=500, early_abstention=False)
    at = found.at(0.05)
    assert at.alpha == 0.05
    assert (at.radii[[0, 2, 3]] > found.radii[[0, 2, 3]]).all()
    assert at.radii.tolist() == certify(half_space, X, sigma=0.5, n=500, alpha=0.05).radii.tolist()
    with pytest.raises(InvalidSetting, match=r"alpha must be a number in \(0, 1\), got 2"):
        found.at(2)


# Failures -----------------------------------------------------------------------------------------------------------


def test_failed_queries_count_as_another_class() -> None:
    def labels(images: Tensor) -> Tensor:
        return torch.where(images.flatten(1)[:, 1] > 0, -1, half_space(images))

    def scores(images: Tensor) -> Tensor:
        out = nn.functional.one_hot(half_space(images), 2).float()
        return out.masked_fill((images.flatten(1)[:, 1] > 0)[:, None], float("nan"))

    def raising(images: Tensor) -> Tensor:
        if (images.flatten(1)[:, 1] > 0).any():
            raise TimeoutError("no answer")
        return half_space(images)

    x = torch.tensor([[1.0, -0.6], [1.0, 0.0]])
    found = certify(labels, x, sigma=0.5, n=400, early_abstention=False)
    assert counts(found) == counts(certify(scores, x, sigma=0.5, n=400, early_abstention=False))
    assert counts(found) == counts(certify(raising, x, sigma=0.5, n=400, chunk=64, early_abstention=False))
    assert (found.asked == 400).all()
    assert found.images[1].estimation.failed == int((noisy(x[1], 0.5, 0, 1, Stage.ESTIMATION, 0, 400)[:, 1] > 0).sum())
    # Where half of the queries fail nothing can be certified, although all that are answered agree.
    assert found.predicted.tolist() == [1, -1]
    assert 0 < found.radii[0] < 0.6


def test_a_chunk_that_raises_is_asked_in_halves() -> None:
    def raising(images: Tensor) -> Tensor:
        if len(images) > 1 and (images[:, 1] > 1.2).any():
            raise RuntimeError("bad batch")
        return half_space(images)

    found = certify(raising, X, sigma=0.5, n=300)
    assert (found.failed == 0).all()
    assert counts(found) == counts(certify(half_space, X, sigma=0.5, n=300))


def test_a_chunk_that_does_not_fit_is_halved_for_good() -> None:
    def small(images: Tensor) -> Tensor:
        if len(images) > 20:
            raise torch.OutOfMemoryError("too much")
        return half_space(images)

    asked = Counting(small)
    found = certify(asked, X, sigma=0.5, n=1000, chunk=128)
    assert counts(found) == counts(certify(half_space, X, sigma=0.5, n=1000))
    assert sum(size > 20 for size in asked.sizes) <= 3

    def never(images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        certify(never, X, sigma=0.5, n=1000)


def test_an_image_that_is_never_answered_abstains_and_is_not_asked_again() -> None:
    def predict(images: Tensor) -> Tensor:
        return torch.where(images[:, 1] > 50, -1, half_space(images))

    x = torch.tensor([[1.0, 100.0], [1.0, 0.0]])
    asked = Counting(predict)
    found = certify(asked, x, [1, 1], sigma=0.5, n0=100, n=1000)
    assert found.selected.tolist() == [-1, 1]
    assert found.asked.tolist() == [0, 1000]
    assert asked.images == 100 + 1100
    assert found.at(0.5).abstained.tolist() == [True, False]
    assert found.certified_accuracy(0.1) == 0.5


@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_dead_classifier_is_given_up(count: int) -> None:
    asked = Counting(lambda images: torch.full((len(images), 3), float("nan")))
    with pytest.raises(ClassifierFailed, match=r"none of the queries about \d images in a row. Its answers were NaN"):
        certify(asked, torch.zeros(count, 2), sigma=0.5, n=1000)
    assert asked.images <= 300

    def broken(images: Tensor) -> Tensor:
        raise ConnectionError("refused")

    with pytest.raises(ClassifierFailed, match="The last one said: ConnectionError: refused"):
        certify(broken, torch.zeros(count, 2), sigma=0.5, n=1000)


def test_errors_of_the_toolkit_and_ctrl_c_are_passed_on() -> None:
    def spent(images: Tensor) -> Tensor:
        raise BudgetSpent("nothing left")

    def pressed(images: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(BudgetSpent):
        certify(spent, X, sigma=0.5, n=200)
    with pytest.raises(KeyboardInterrupt):
        certify(pressed, X, sigma=0.5, n=200)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sigma": 0.0}, "sigma must be a finite number above 0, got 0.0"),
        ({"sigma": -1}, "sigma must be a finite number above 0"),
        ({"sigma": float("nan")}, "sigma must be a finite number above 0"),
        ({"alpha": 0.0}, r"alpha must be a number in \(0, 1\), got 0.0"),
        ({"alpha": 1}, r"alpha must be a number in \(0, 1\), got 1"),
        ({"n": 99}, "n must be at least n0: .* got n=99 and n0=100"),
        ({"n0": 0}, "n0 must be an integer of at least 1, got 0"),
        ({"n": 1e4}, "n must be an integer of at least 1, got 10000.0"),
        ({"chunk": 0}, "chunk must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer in"),
        ({"classes": 1}, "classes must be an integer of at least 2"),
        ({"early_abstention": 1}, "early_abstention must be True or False, got 1"),
        ({"futility": 1.0}, r"futility must be a number in \(0, 1\)"),
        ({"futility": 0.1, "early_abstention": False}, "leave early_abstention at True"),
        ({"radii": [-1.0]}, "radius must be a finite number of at least 0"),
        ({"indices": [0, 1, 2]}, "indices must be one integer for each of the 4 images"),
        ({"indices": [0, 1, 2, 2]}, "different from each other"),
        ({"indices": [0, 1, 2, -3]}, "at least 0"),
        ({"indices": [0.0, 1.0, 2.0, 3.0]}, "one integer for each"),
    ],
)
def test_bad_settings(changed: dict[str, Any], words: str) -> None:
    asked = Counting()
    with pytest.raises(InvalidSetting, match=words):
        certify(asked, X, **({"sigma": 0.5, "n": 200} | changed))
    assert asked.images == 0


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(0, 2), "with N at least 1"),
        (torch.zeros(3, 0), "with N at least 1"),
        (torch.zeros(3), r"shape \(N, \*shape\)"),
        (torch.zeros(3, 2, dtype=torch.uint8), "float32 or float64, .* dtype torch.uint8"),
        (torch.zeros(3, 2, dtype=torch.float16), "float32 or float64"),
        (np.zeros((3, 2), dtype=object), "float32 or float64"),
        ([[0.0, 1.0]], "a tensor or an array"),
        (torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), "finite, but image 1 is not"),
        (torch.tensor([[0.0, float("inf")]]), "finite, but image 0 is not"),
    ],
)
def test_bad_images(x: Any, words: str) -> None:
    asked = Counting()
    with pytest.raises(InvalidImages, match=words):
        certify(asked, x, sigma=0.5, n=200)
    assert asked.images == 0


@pytest.mark.parametrize(
    ("y", "classes", "words"),
    [
        ([0, 1], None, "one true class for each of the 4 images"),
        ([[0, 1, 1, 0]], None, "one true class for each of the 4 images"),
        ([0.0, 1.0, 1.0, 0.0], None, "must hold integers"),
        ([0, 1, -1, 0], None, "at least 0, got -1"),
        ([0, 1, 2, 0], 2, r"in \[0, 2\), the classifier's classes, got 2"),
    ],
)
def test_bad_labels(y: Any, classes: int | None, words: str) -> None:
    asked = Counting()
    with pytest.raises(InvalidLabels, match=words):
        certify(asked, X, y, sigma=0.5, n=200, classes=classes)
    assert asked.images == 0


def test_labels_that_the_scores_do_not_know() -> None:
    asked = Counting(three_way)
    with pytest.raises(InvalidLabels, match=r"in \[0, 3\).* got 3"):
        certify(asked, X, [0, 1, 2, 3], sigma=0.5, n=200)
    assert asked.images <= 300


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda images: half_space(images)[:-1], "was asked about 100 images and must return"),
        (lambda images: half_space(images)[None], r"got a tensor of shape \(1, 100\)"),
        (lambda images: half_space(images).float(), "labels must be integers, got .* torch.float32"),
        (lambda images: half_space(images).bool(), "labels must be integers"),
        (lambda images: half_space(images) - 2, "labels must be at least 0 below classes=3, or -1 .* got -2"),
        (lambda images: half_space(images) + 2, "labels must be at least 0 below classes=3, .* got 3"),
        (lambda images: images, r"scores must have classes=3 columns, got .*\(100, 2\)"),
        (lambda images: images[:, :1], "at least 2 classes"),
        (lambda images: three_way(images).to(torch.complex64), "real numbers"),
        (lambda images: "cat", "must return"),
        (lambda images: None, "must return"),
        (lambda images: torch.tensor(3), "must return"),
    ],
)
def test_bad_answers(predict: Any, words: str) -> None:
    with pytest.raises(InvalidAnswers, match=words):
        certify(predict, X, sigma=0.5, n=200, classes=3)


def test_scores_that_change_their_width() -> None:
    sizes = iter([3, 3, 4])
    with pytest.raises(InvalidAnswers, match="classes=3 columns"):
        certify(lambda images: torch.zeros(len(images), next(sizes)), X, sigma=0.5, n=200)


def test_a_classifier_that_writes_into_its_images() -> None:
    with pytest.raises(InputMutated, match="work on a clone"):
        certify(lambda images: half_space(images.mul_(2)), X, sigma=0.5, n=200)


@pytest.mark.parametrize(
    ("classifier", "words"),
    [
        (3, "a classifier must be a callable"),
        (RandomForestClassifier, "a classifier must be a callable"),
        (nn.BatchNorm1d(2), "training mode"),
        (RandomForestClassifier(), "no fitted classifier"),
        (RandomForestClassifier(2).fit(np.eye(2), ["cat", "dog"]), "labels 0 to 1, got .*'cat'.*LabelEncoder"),
        (RandomForestClassifier(2).fit(np.eye(2), [1, 2]), "labels 0 to 1"),
    ],
)
def test_what_is_no_classifier(classifier: Any, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        certify(classifier, X, sigma=0.5, n=200)


def test_radii_out_of_reach_are_said_before_anything_is_spent() -> None:
    def dead(images: Tensor) -> Tensor:
        raise AssertionError("asked")

    with pytest.warns(RadiusWarning, match="n=5,114"), pytest.raises(ClassifierFailed):
        certify(dead, X, sigma=0.25, n=1000, radii=[0.75])
    asked = Counting()
    with pytest.warns(RadiusWarning, match="at all"):
        found = certify(asked, X, sigma=0.25, n0=5, n=5)
    assert found.abstention_rate == 1.0
    assert asked.images == 4 * 5  # nothing is asked for what cannot be certified


def test_probe_of_another_shape() -> None:
    with pytest.raises(InvalidImages, match=r"probe must have the images' shape \(p, 2\), got \(1, 3\)"):
        certify(half_space, X, sigma=0.5, n=200, probe=torch.zeros(1, 3))


def test_memory_does_not_grow_with_n() -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        certify(half_space, torch.zeros(1, 256), sigma=0.5, n=n, early_abstention=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    largest = 0

    def predict(images: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, images.untyped_storage().nbytes())
        return half_space(images)

    for n in (1000, 50_000):
        certify(predict, torch.zeros(1, 256), sigma=0.5, n=n, early_abstention=False)
    assert largest <= 4 * (1 << 17) + 8 * 4096
    peak(100)
    assert peak(50_000) < peak(5_000) + 200_000
