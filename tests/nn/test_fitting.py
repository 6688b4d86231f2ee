"""Which mu fits which black box, and the probe that finds out."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from zotoolkit import RGE
from zotoolkit.errors import BudgetSpent, InvalidBatch, InvalidSetting
from zotoolkit.nn import BlackBoxFunction, fitting_mu, probe_differences
from zotoolkit.seeding import torch_generator

Z = 2 * torch.randn(40, 6, generator=torch_generator(0))


def smooth(points: Tensor) -> Tensor:
    return torch.stack((points.sin().sum(1), points.cos().sum(1)), 1)


def label(points: Tensor) -> Tensor:
    return (points.sum(1) > 0).float()


@pytest.mark.parametrize(
    ("access", "is_smooth", "small"),
    [
        ("logits", True, True),
        ("proba", True, True),
        ("label", True, False),
        ("proba", False, False),
        ("logits", False, False),
    ],
)
def test_mu_by_access(access: str, is_smooth: bool, small: bool) -> None:
    expected = 0.005 if small else 0.15 * float(Z.std(correction=0))
    assert fitting_mu(access, Z, smooth=is_smooth) == pytest.approx(expected)


def test_a_smooth_function_keeps_its_mu(caplog: pytest.LogCaptureFixture) -> None:
    report = probe_differences(smooth, Z, 0.005)
    assert report.fits
    assert (report.zero_share, report.recommended_mu, report.differences) == (0.0, 0.005, 64)
    assert (report.queries, report.failed) == (128, 0)
    assert not caplog.records
    assert str(report) == "at mu=0.005 0% of 64 differences are exactly 0"


@pytest.mark.parametrize("kind", ["label", "8 bits", "trees"])
def test_zero_differences_are_noticed_said_once_and_a_larger_mu_has_fewer(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    features, classes = Z.numpy(), (Z.sum(1) > 0).long().numpy()
    forest = RandomForestClassifier(20, random_state=0).fit(features, classes)
    functions = {
        "label": label,
        "8 bits": lambda p: (p * 32).round().sum(1) / 32,
        "trees": lambda p: torch.as_tensor(forest.predict_proba(p.numpy())).float(),
    }
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        report = probe_differences(functions[kind], Z, 0.005)
    assert not report.fits
    assert report.recommended_mu == pytest.approx(0.15 * float(Z.std(correction=0)))
    assert report.recommended_zero_share < report.zero_share
    assert report.zero_share > (0.3 if kind == "8 bits" else 0.8)
    assert report.queries == 256
    assert len(caplog.records) == 1
    assert f"{report.zero_share:.0%} of 64 differences are exactly 0" in caplog.text
    assert "two-sided" in caplog.text


def test_a_layer_is_asked_through_its_own_count() -> None:
    layer = BlackBoxFunction(lambda p, y: smooth(p)[:, 0] * y, RGE(0.005), budget=100, max_batch=5)
    report = probe_differences(layer, Z, 0.005, torch.ones(40), samples=5, directions=2)
    assert layer.queries == (20, 20)
    assert (report.queries, report.differences) == (20, 10)
    with pytest.raises(BudgetSpent):
        probe_differences(layer, Z, 0.005, torch.ones(40), samples=40)
    assert layer.queries.sent == 20


def test_failures_are_counted_and_a_box_that_never_answers_is_said(caplog: pytest.LogCaptureFixture) -> None:
    first = probe_differences(lambda p: torch.where(p[:, 0] > 0, torch.nan, p[:, 0]), Z, 0.005)
    assert 0 < first.failed < first.queries
    assert first.differences < 64
    assert first.zero_share == 0.0
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        silent = probe_differences(lambda p: torch.full((len(p),), torch.nan), Z, 10.0)
    assert silent.zero_share != silent.zero_share
    assert silent.failed == silent.queries == 128
    assert "answered no pair of 128 probing queries" in caplog.text


def test_equal_seeds_give_equal_reports() -> None:
    one, two, other = (
        probe_differences(label, Z, 0.5, seed=seed, max_batch=m) for seed, m in ((1, 3), (1, 99), (2, 9))
    )
    assert one == two != other


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mu": 0.0}, "mu must be a finite number above 0, got 0.0"),
        ({"samples": 0}, "samples must be an integer of at least 1"),
        ({"directions": 0}, "directions must be an integer of at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"max_batch": 0}, "max_batch must be an integer of at least 1"),
    ],
)
def test_bad_settings_are_said(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        probe_differences(smooth, Z, **settings)


def test_bad_points_are_said() -> None:
    with pytest.raises(InvalidSetting, match="Did you mean 'label'"):
        fitting_mu("labels", Z)
    with pytest.raises(InvalidBatch, match="all entries of z are equal"):
        fitting_mu("label", torch.ones(3, 2))
    with pytest.raises(InvalidBatch, match="z must be a finite floating-point tensor"):
        fitting_mu("label", torch.tensor([1.0, torch.nan]))
    with pytest.raises(InvalidBatch, match="1 of its 2 samples are not"):
        probe_differences(smooth, torch.tensor([[1.0], [torch.nan]]), 0.1)
