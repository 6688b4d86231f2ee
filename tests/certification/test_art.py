"""Certificates against those of IBM's Adversarial Robustness Toolbox: on the same counts, and on the same noise.

ART's convention: abstain where p_A < 1/2, bound by the lower end of a two-sided Clopper-Pearson interval at 2 alpha,
which is the one-sided bound at alpha. So the same alpha is compared with the same alpha.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zotoolkit.certification import Certification, ImageCounts, SmoothingSettings, certify, lower_bound
from zotoolkit.certification.counts import Tally
from zotoolkit.certification.noise import Stage, noisy

pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed")
pytest.importorskip("statsmodels", reason="ART certifies with statsmodels, which it does not declare")

from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing
from art.estimators.certification.randomized_smoothing.randomized_smoothing import RandomizedSmoothingMixin

CLASSES = 5


class Replayed(RandomizedSmoothingMixin):
    """ART's procedure on noise and counts of ours."""

    def __init__(self, found: Certification, predict: Any = None, x: Any = None) -> None:
        super().__init__(sample_size=found.settings.n0, scale=found.sigma, alpha=found.alpha)
        self._found = found
        self._predict = predict
        self._x = x
        self._row = -1
        self._first = False

    def _noisy_samples(self, x: np.ndarray, n: int | None = None) -> np.ndarray:
        # Called twice an image: for the selection, then for the estimation.
        self._first = not self._first
        self._row += self._first
        stage = Stage.SELECTION if self._first else Stage.ESTIMATION
        settings = self._found.settings
        count = settings.n0 if n is None else n
        return noisy(torch.from_numpy(x), self.scale, settings.seed, self._row, stage, 0, count).numpy()

    def _predict_classifier(self, x: np.ndarray, batch_size: int, training_mode: bool, **kwargs: Any) -> np.ndarray:
        with torch.no_grad():
            return self._predict(torch.from_numpy(x)).numpy()


class OnCounts(RandomizedSmoothingMixin):
    """ART's procedure on given counts."""

    def __init__(self, found: Certification) -> None:
        super().__init__(sample_size=found.settings.n0, scale=found.sigma, alpha=found.alpha)
        votes = zip(found.votes("selection"), found.votes("estimation"), strict=True)
        self._votes = iter([stage for image in votes for stage in image])

    def _prediction_counts(self, x: np.ndarray, n: int | None = None, batch_size: int = 128) -> np.ndarray:
        return next(self._votes)


@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_bounds_are_those_of_art(alpha: float) -> None:
    art = RandomizedSmoothingMixin(sample_size=1, alpha=alpha)
    for n in (1, 7, 100, 1000, 10_000):
        counts = np.unique(np.linspace(0, n, 41).astype(int))
        wanted = [art._lower_confidence_bound(int(k), n) for k in counts]
        assert lower_bound(counts, n, alpha) == pytest.approx(np.nan_to_num(wanted), rel=1e-12, abs=0)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
def test_classes_and_radii_on_the_same_counts(alpha: float) -> None:
    dice = np.random.default_rng(0)
    images = []
    for index, p in enumerate(np.linspace(0.01, 1.0, 60)):
        first, second = (dice.multinomial(n, [p, *[(1 - p) / 4] * 4]) for n in (100, 1000))
        tallies = (Tally({k: int(c) for k, c in enumerate(votes) if c}) for votes in (first, second))
        images.append(ImageCounts(index, *tallies))
    settings = SmoothingSettings(sigma=0.25, n0=100, n=1000, alpha=alpha, classes=CLASSES)
    found = Certification(settings, tuple(images), alpha)
    classes, radii = OnCounts(found).certify(np.zeros((60, 1)), n=1000)
    assert found.predicted.tolist() == classes.tolist()
    assert found.radii == pytest.approx(radii, rel=1e-12, abs=0)
    assert 0 < found.abstention_rate < 1


@pytest.mark.parametrize("early", [True, False])
def test_classes_and_radii_on_the_same_noise(early: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES)).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=draws))
    x = torch.randn(25, 3, 4, 4, generator=draws) / 2
    found = certify(network, x, sigma=0.3, n0=100, n=1000, seed=4, early_abstention=early)
    classes, radii = Replayed(found, network).certify(x.numpy(), n=1000)
    assert found.predicted.tolist() == classes.tolist()
    assert found.radii == pytest.approx(radii, rel=1e-12, abs=0)
    assert 0 < found.abstention_rate < 1
    assert len(set(classes.tolist())) > 3


def test_radii_on_noise_of_arts_own_agree_within_the_draw() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[0.0] * 4, [1.0, 0, 0, 0]]))
        network[1].bias.zero_()
    x = np.zeros((3, 1, 2, 2), dtype=np.float32)
    x[:, 0, 0, 0] = [-0.4, 0.2, 0.6]
    art = PyTorchRandomizedSmoothing(
        network, nn.CrossEntropyLoss(), (1, 2, 2), 2, device_type="cpu", sample_size=100, scale=0.5
    )
    state = np.random.get_state()  # noqa: NPY002 - ART draws from NumPy's global generator
    np.random.seed(0)  # noqa: NPY002
    try:
        classes, radii = art.certify(x, n=4000)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    found = certify(network, x, sigma=0.5, n=4000)
    assert found.predicted.tolist() == classes.tolist() == [0, 1, 1]
    assert found.radii == pytest.approx(radii, abs=0.06)
