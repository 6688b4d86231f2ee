from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems.pde.simulators import downsample, grid_ratio
from zotoolkit.errors import InvalidSetting, InvalidState


@given(points=st.integers(1, 12), ratio=st.integers(1, 5), seed=st.integers(0, 9))
def test_both_methods_agree_on_waves_that_the_coarse_grid_carries(points: int, ratio: int, seed: int) -> None:
    x = 2 * np.pi * np.arange(points * ratio) / (points * ratio)
    amplitudes = np.random.default_rng(seed).normal(size=(points // 2 + 1, 2))
    fine = sum(a * np.cos(k * x) + b * np.sin(k * x) for k, (a, b) in enumerate(amplitudes))
    states = torch.as_tensor(np.broadcast_to(fine, (2, 3, len(x))).copy())
    by_waves, by_points = downsample(states, points), downsample(states, points, "stride")
    assert by_waves.shape == (2, 3, points)
    torch.testing.assert_close(by_points, states[..., ::ratio], rtol=0, atol=0)
    torch.testing.assert_close(by_waves, by_points, rtol=0, atol=1e-11)


def test_short_waves_are_left_out_or_folded() -> None:
    x = torch.linspace(0, 2 * torch.pi, 33, dtype=torch.float64)[:32]
    short = torch.cos(7 * x)
    torch.testing.assert_close(downsample(short, 8), torch.zeros(8).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(downsample(short, 8, "stride"), torch.cos(x)[::4])


@pytest.mark.parametrize("method", ["spectral", "stride"])
def test_the_answer_is_memory_of_its_own(method: Literal["spectral", "stride"]) -> None:
    states = torch.ones(2, 8)
    for points in (4, 8):
        downsample(states, points, method).zero_()
    assert torch.equal(states, torch.ones(2, 8))


@pytest.mark.parametrize(
    ("fine", "coarse", "words"),
    [
        (192, 47, "a grid of 47 points does not divide one of 192; 32 does, or refine to 235"),
        (48, 96, "does not divide one of 48; 48 does"),
        (48, 0, "coarse must be an integer of at least 1"),
        (48, 4.0, "coarse must be an integer"),
    ],
)
def test_grids_that_do_not_divide(fine: int, coarse: Any, words: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(words)):
        grid_ratio(fine, coarse)
    with pytest.raises(InvalidSetting, match=re.escape(words)):
        downsample(torch.zeros(fine), coarse)


def test_ratio() -> None:
    assert grid_ratio(192, 48) == 4


def test_what_is_no_state_and_no_method() -> None:
    with pytest.raises(InvalidState, match="floating point"):
        downsample(torch.zeros(8).int(), 4)
    with pytest.raises(InvalidState, match="floating point"):
        downsample([1.0, 2.0], 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="Did you mean 'stride'"):
        downsample(torch.zeros(8), 4, "strides")  # type: ignore[arg-type]
