"""Keep ratios: the counts of ResNet-20, totals that are exact, layers that would die, ties, settings that cannot be."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from problems.dnn.networks.resnet import CifarResNet
from zotoolkit.engines import Kind, ParameterLayout
from zotoolkit.errors import DeadLayerWarning, InvalidSetting
from zotoolkit.masks import LayerwiseRandomMask, score_ratios, uniform_ratios
from zotoolkit.masks.ratios import MASKABLE, kept_count, maskable_slots
from zotoolkit.seeding import torch_generator

RESNET = ParameterLayout.of(CifarResNet(20))
SMALL = ParameterLayout.of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)))
ONE = ParameterLayout.of(nn.Linear(5, 2, bias=False))


def scores(layout: ParameterLayout, seed: int = 0) -> torch.Tensor:
    return torch.randn(layout.dim, generator=torch_generator(seed)).abs()


def counts(ratios: dict[str, float], layout: ParameterLayout) -> dict[str, int]:
    return {name: round(ratio * layout[name].size) for name, ratio in ratios.items()}


@pytest.mark.parametrize(("sparsity", "active"), [(0.8, 55_053), (0.9, 28_220), (0.95, 14_803), (0.99, 4_069)])
@pytest.mark.parametrize("by", ["score", "uniform"])
def test_resnet_20_has_the_active_coordinates_of_the_paper(sparsity: float, active: int, by: str) -> None:
    maskable = RESNET.coordinates(*MASKABLE)
    assert (len(maskable), RESNET.dim - len(maskable)) == (268_336, 1_386)
    ratios = (
        score_ratios(scores(RESNET), RESNET, sparsity) if by == "score" else uniform_ratios(RESNET, sparsity, least=1)
    )
    alive = LayerwiseRandomMask(ratios, layout=RESNET).alive(RESNET.dim, 0, 0)
    assert len(alive) == active


@given(sparsity=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 99), least=st.integers(0, 20))
def test_the_top_scores_are_counted_layer_by_layer(sparsity: float, seed: int, least: int) -> None:
    values = scores(SMALL, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadLayerWarning)
        kept = counts(score_ratios(values, SMALL, sparsity, least), SMALL)
    maskable = SMALL.coordinates(*MASKABLE)
    assert set(kept) == {slot.name for slot in maskable_slots(SMALL)}
    assert sum(kept.values()) == max(kept_count(SMALL, sparsity), sum(min(least, SMALL[n].size) for n in kept))
    assert all(count >= min(least, SMALL[name].size) for name, count in kept.items())
    if least == 0:
        top = maskable[values[maskable].argsort(descending=True)][: kept_count(SMALL, sparsity)]
        layers = SMALL.slot_of(top)
        assert kept == {s.name: int((layers == SMALL.slots.index(s)).sum()) for s in maskable_slots(SMALL)}


@given(sparsity=st.floats(0, 1, exclude_max=True), least=st.integers(0, 20))
def test_uniform_ratios_have_the_same_total(sparsity: float, least: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadLayerWarning)
        kept = counts(uniform_ratios(SMALL, sparsity, least), SMALL)
        by_score = counts(score_ratios(scores(SMALL), SMALL, sparsity, least), SMALL)
    assert sum(kept.values()) == sum(by_score.values())
    if least == 0:
        assert all(abs(kept[name] - (1 - sparsity) * SMALL[name].size) <= 1.5 for name in kept)
    assert all(count >= min(least, SMALL[name].size) for name, count in kept.items())


def test_a_ratio_is_the_exact_count() -> None:
    assert score_ratios(torch.arange(10.0), ONE, 0.25) == {"weight": 0.8}  # 10 - round(2.5), and 2.5 rounds to 2


def test_scores_that_are_all_the_same_are_drawn_by_lot() -> None:
    ratios = score_ratios(torch.zeros(RESNET.dim), RESNET, 0.9)
    assert all(abs(ratio - 0.1) < 0.06 for name, ratio in ratios.items() if RESNET[name].size > 400)
    assert ratios == score_ratios(torch.zeros(RESNET.dim), RESNET, 0.9)


def test_a_layer_that_loses_everything_warns_and_least_prevents_it() -> None:
    values = scores(SMALL)
    values[: SMALL["0.weight"].stop] = 0
    with pytest.warns(DeadLayerWarning, match="no coordinate of 0.weight is kept, .* least=1"):
        ratios = score_ratios(values, SMALL, 0.9)
    assert ratios["0.weight"] == 0
    assert counts(score_ratios(values, SMALL, 0.9, least=1), SMALL)["0.weight"] == 1
    with pytest.warns(DeadLayerWarning, match=r"0\.weight"):
        uniform_ratios(SMALL, 0.99)


def test_at_least_one_coordinate_is_kept_in_all() -> None:
    assert counts(score_ratios(torch.arange(10.0), ONE, 0.999), ONE) == {"weight": 1}


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1, float("nan"), True, "0.5"])
def test_sparsities_that_cannot_be(sparsity: Any) -> None:
    for call in (lambda: score_ratios(scores(SMALL), SMALL, sparsity), lambda: uniform_ratios(SMALL, sparsity)):
        with pytest.raises(InvalidSetting, match=r"sparsity must be a number in \[0, 1\), got"):
            call()


def test_what_cannot_be_scored() -> None:
    with pytest.raises(InvalidSetting, match=r"scores must be \(\d+,\) finite numbers, got a tensor of shape \(3,\)"):
        score_ratios(torch.zeros(3), SMALL, 0.5)
    with pytest.raises(InvalidSetting, match="finite"):
        score_ratios(torch.full((10,), torch.nan), ONE, 0.5)
    norms = ParameterLayout.of(nn.LayerNorm(3))
    assert {slot.kind for slot in norms.slots} == {Kind.NORM}
    with pytest.raises(InvalidSetting, match="nothing can be masked: of 2 parameters none is"):
        uniform_ratios(norms, 0.5)
