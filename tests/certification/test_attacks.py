"""Attacks on certificates: that they find what is there, and nothing within the radius."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zotoolkit.certification import Certification, certify
from zotoolkit.errors import InvalidImages, InvalidSetting, MissingExtra

pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed")

from zotoolkit.certification.attacks import AttackSettings, Outcome, attack

X = torch.tensor([[0.5, 0.1], [-0.4, 0.3], [0.02, 0.0], [-0.8, -0.2]])
SMALL: dict[str, Any] = {"steps": 10, "draws": 60, "iterations": 4, "evaluations": 20}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Classes by the sign of the first number: certified radii nearly reach the boundary, so there is little slack."""
    network = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[-9.0, 0.0], [9.0, 0.0]]))
    return network.eval()


@pytest.fixture(scope="module")
def certification(network: nn.Module) -> Certification:
    return certify(network, X, sigma=0.5, n=2000)


@pytest.fixture(autouse=True)
def _hop_skip_jump_draws_the_same() -> Any:
    state = np.random.get_state()  # noqa: NPY002 - ART draws from NumPy's global generator
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


def test_no_attack_changes_a_prediction_within_the_radius(network: nn.Module, certification: Certification) -> None:
    report = attack(network, certification, X, settings=AttackSettings(**SMALL), samples=1000)
    assert [(outcome.attack, outcome.index) for outcome in report.outcomes] == [
        (name, index) for name in ("pgd", "hop-skip-jump") for index in (0, 1, 3)
    ]
    assert report.changed == report.refuted == 0
    for outcome in report.outcomes:
        assert outcome.norm <= 0.999 * outcome.radius * (1 + 1e-6)
        assert outcome.samples == 1000
    pgd, hop = report.summary()
    assert (pgd["attack"], pgd["images"], pgd["changed"]) == ("pgd", 3, 0)
    # The attacks go to the edge of the ball, where the class has hardly more than half of the votes left.
    assert all(outcome.norm > 0.99 * outcome.radius for outcome in report.outcomes if outcome.attack == "pgd")
    assert 0.5 < pgd["least_share"] < 0.62
    # Hop-skip-jump finds the boundary itself: beyond the radius, and not far beyond.
    assert 1.0 < hop["nearest"] <= hop["median_nearest"] < 1.6


def test_attacks_that_may_leave_the_ball_change_predictions(network: nn.Module, certification: Certification) -> None:
    settings = AttackSettings(fraction=1.5, **SMALL)
    report = attack(network, certification, X, settings=settings, samples=1000)
    assert all(outcome.changed for outcome in report.outcomes if outcome.attack == "pgd")
    assert report.changed >= 5
    assert report.refuted >= 3


def test_a_label_only_classifier_with_gradients_of_another(network: nn.Module, certification: Certification) -> None:
    def labels(images: torch.Tensor) -> torch.Tensor:
        return (images[:, 0] > 0).long()

    settings = AttackSettings(**SMALL)
    report = attack(labels, certification, X, module=network, attacks=("pgd",), settings=settings, samples=500)
    assert len(report.outcomes) == 3
    assert report.changed == 0
    with pytest.raises(InvalidSetting, match="pgd needs gradients: give module="):
        attack(labels, certification, X, settings=settings)


def test_without_another_class_there_is_nothing_to_walk_to(network: nn.Module) -> None:
    x = X[[0, 0]] + torch.tensor([[0.0], [0.1]])
    found = certify(network, x, sigma=0.5, n=500)
    report = attack(network, found, x, attacks=("hop-skip-jump",), settings=AttackSettings(**SMALL), samples=500)
    assert report.changed == 0
    assert report.summary()[0]["nearest"] is None


def test_a_wrong_certificate_is_refuted() -> None:
    wrong = Outcome("pgd", 0, 0.5, 0.4, float("nan"), certified=1, voted=0, successes=300, samples=1000)
    assert wrong.changed
    assert wrong.refuted(0.001)
    close = Outcome("pgd", 0, 0.5, 0.4, float("nan"), certified=1, voted=0, successes=499, samples=1000)
    assert close.changed
    assert not close.refuted(0.001)


def test_bad_input(network: nn.Module, certification: Certification, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSetting, match="attack must be one of 'pgd', 'hop-skip-jump', got 'fgsm'"):
        attack(network, certification, X, attacks=("fgsm",))  # type: ignore[arg-type]
    with pytest.raises(InvalidImages, match="the 4 certified images, got 3"):
        attack(network, certification, X[:3])
    with pytest.raises(InvalidImages, match="image 0 differs"):
        attack(network, certification, X + 1)
    with pytest.raises(InvalidSetting, match="fraction must be a finite number above 0"):
        AttackSettings(fraction=0)
    with pytest.raises(InvalidSetting, match="steps must be an integer of at least 1"):
        AttackSettings(steps=0)
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
    with pytest.raises(MissingExtra, match=r"zotoolkit\[attacks\]"):
        attack(network, certification, X)
