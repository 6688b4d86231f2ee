"""Errors over time: against plain formulas, and what a blow-up counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from problems.pde.measures import absolute_errors, blow_up_frames, mae, relative_errors, relative_l2
from problems.pde.simulators.wake import face_mask
from zotoolkit.errors import InvalidSetting, InvalidState

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.sampled_from([(5,), (2, 3), (2, 4, 3)]))


def paths(seed: int, frames: int, count: int, fields: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(frames, count, *fields, generator=generator)
    return true + 0.1 * torch.randn(true.shape, generator=generator), true


@given(st.integers(0, 99), SHAPES)
def test_they_are_the_plain_formulas(seed: int, shape: tuple[int, int, tuple[int, ...]]) -> None:
    predicted, true = paths(seed, *shape)
    p, t = predicted.double().numpy(), true.double().numpy()
    for frame in range(shape[0]):
        for row in range(shape[1]):
            difference = (p - t)[frame, row].ravel()
            absolute, length = np.mean(np.abs(difference)), np.linalg.norm(difference)
            assert float(absolute_errors(predicted, true)[frame, row]) == pytest.approx(absolute)
            relative = length / np.linalg.norm(t[frame, row])
            assert float(relative_errors(predicted, true)[frame, row]) == pytest.approx(relative)
    torch.testing.assert_close(mae(predicted, true), absolute_errors(predicted, true).mean(1))
    torch.testing.assert_close(relative_l2(predicted, true), relative_errors(predicted, true).mean(1))


@given(st.integers(0, 99), SHAPES, st.floats(1e-3, 1e3))
def test_units_and_order_do_not_matter(seed: int, shape: tuple[int, int, tuple[int, ...]], unit: float) -> None:
    predicted, true = (path.double() for path in paths(seed, *shape))
    torch.testing.assert_close(relative_l2(unit * predicted, unit * true), relative_l2(predicted, true))
    torch.testing.assert_close(mae(unit * predicted, unit * true), unit * mae(predicted, true))
    torch.testing.assert_close(mae(predicted.flip(1), true.flip(1)), mae(predicted, true))
    assert mae(true, true).abs().max() == relative_l2(true, true).abs().max() == 0


def test_only_the_places_that_count() -> None:
    predicted, true = paths(0, 3, 2, (2, 4, 3))
    faces = face_mask((2, 4, 3))
    beyond = predicted.clone()
    beyond[:, :, ~faces] = torch.nan
    assert torch.equal(mae(beyond, true, faces), mae(predicted, true, faces))
    expected = (predicted - true).double().abs()[..., faces].mean(2).mean(1)
    torch.testing.assert_close(mae(predicted, true, faces), expected)
    assert not torch.equal(mae(predicted, true, faces), mae(predicted, true))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_blow_up_is_an_infinite_error_from_there_on(value: float) -> None:
    predicted, true = paths(1, 5, 3, (6,))
    predicted[2, 1, 3] = value  # and is finite again after
    for errors in (absolute_errors(predicted, true), relative_errors(predicted, true)):
        assert torch.isinf(errors).nonzero().tolist() == [[2, 1], [3, 1], [4, 1]]
        assert not errors.isnan().any()
    assert torch.isinf(mae(predicted, true)).tolist() == [False, False, True, True, True]
    assert torch.isfinite(mae(predicted, true, average="median")).all()
    assert blow_up_frames(predicted).tolist() == [5, 2, 5]
    predicted[3, 0] = value
    assert torch.isinf(relative_l2(predicted, true, average="median")).tolist() == [False, False, False, True, True]


def test_a_median_takes_the_worse_of_two() -> None:
    true = torch.zeros(1, 2, 1)
    assert float(mae(torch.tensor([[[1.0], [3.0]]]), true, average="median")) == 3.0
    assert float(mae(torch.tensor([[[1.0], [torch.inf]]]), true, average="median")) == torch.inf


def test_huge_values_are_finite() -> None:
    true = torch.full((2, 1, 3), -3e38)
    assert float(absolute_errors(-true, true)[0, 0]) == pytest.approx(6e38, rel=1e-6)
    assert float(relative_errors(-true, true)[0, 0]) == pytest.approx(2)


def test_a_truth_of_zero() -> None:
    true = torch.zeros(1, 2, 3)
    assert relative_errors(torch.tensor([[[0.0] * 3, [1.0] * 3]]), true).tolist() == [[0.0, torch.inf]]
    later = torch.ones(2, 1, 3) * torch.tensor([0.0, 1.0])[:, None, None]
    assert relative_errors(torch.ones(2, 1, 3), later).tolist() == [[torch.inf], [0.0]]  # which is no blow-up


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"predicted": torch.zeros(3, 2)}, r"predicted must be \(T \+ 1, B, \*F\)"),
        ({"predicted": torch.zeros(3, 0, 4)}, "at least one state"),
        ({"true": np.zeros((3, 2, 4))}, "true must be"),
        ({"true": torch.zeros(3, 2, 4).long()}, "true must be"),
        ({"true": torch.zeros(2, 2, 4)}, "must have one shape"),
        ({"true": torch.full((3, 2, 4), torch.nan)}, "true must be finite"),
        ({"where": torch.ones(3) > 0}, r"where must be \(4,\) bool"),
        ({"where": torch.ones(4)}, "where must be"),
        ({"where": torch.zeros(4) > 0}, "at least one True"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], words: str) -> None:
    given = {"predicted": torch.zeros(3, 2, 4), "true": torch.zeros(3, 2, 4), **changes}
    for function in (mae, relative_l2, absolute_errors, relative_errors):
        with pytest.raises(InvalidState, match=words):
            function(**given)


def test_an_average_that_is_unknown() -> None:
    with pytest.raises(InvalidSetting, match="Did you mean 'median'"):
        mae(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), average="medium")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidState, match="predicted must be"):
        blow_up_frames(torch.zeros(3))
