"""What images a classifier takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zotoolkit.errors import InvalidImages, InvalidSetting
from zotoolkit.query_models import InputSpec

finite = st.floats(-10, 10, width=32)


def test_images_pass_as_they_are_unless_the_spec_says_otherwise() -> None:
    images = torch.tensor([[-3.0, 0.123456, 7.0]])
    assert InputSpec((3,)).prepare(images) is images
    assert InputSpec((3,), clip=True).prepare(images).tolist() == [[0.0, images[0, 1].item(), 1.0]]
    assert images.tolist()[0][::2] == [-3.0, 7.0]


@given(
    st.lists(finite, min_size=1, max_size=8),
    st.integers(2, 300),
    st.floats(-3, 1, width=32),
    st.floats(0.25, 4, width=32),
)
def test_levels_are_equally_spaced_and_images_go_to_the_nearest(
    values: list[float], levels: int, low: float, width: float
) -> None:
    spec = InputSpec((len(values),), low=low, high=low + width, levels=levels)
    images = torch.tensor([values])
    sent = spec.prepare(images)
    assert images.tolist() == [torch.tensor(values).tolist()]
    allowed = np.linspace(low, low + width, levels)
    for value, got in zip(values, sent[0].tolist(), strict=True):
        inside = min(max(value, low), low + width)
        assert abs(got - inside) <= np.abs(allowed - inside).min() + 1e-5 * (1 + abs(low) + width)
        assert np.abs(allowed - got).min() < 1e-5 * (1 + abs(low) + width)
    torch.testing.assert_close(spec.prepare(sent), sent, rtol=1e-6, atol=1e-6)


def test_eight_bit_images_are_exact() -> None:
    levels = torch.arange(256, dtype=torch.float32)[None] / 255
    assert torch.equal(InputSpec((256,), levels=256).prepare(levels), levels)
    assert torch.equal(InputSpec((256,), levels=256).prepare(levels + 0.4 / 255), levels)


def test_check_returns_float32_without_a_graph() -> None:
    images = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    checked = InputSpec((3,)).check(images)
    assert checked.dtype == torch.float32
    assert not checked.requires_grad
    single = torch.rand(2, 3)
    assert InputSpec((3,)).check(single).data_ptr() == single.data_ptr()


def test_a_sum_that_overflows_is_not_taken_for_infinity() -> None:
    assert InputSpec((2,)).check(torch.full((1, 2), 3e38)).shape == (1, 2)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([[0.0, 0.0]], r"must be a \(m, 2\) tensor, got .* use torch.as_tensor"),
        (np.zeros((1, 2)), r"must be a \(m, 2\) tensor"),
        (torch.zeros(2), r"One image needs a leading axis: image\[None\]"),
        (torch.zeros(1, 3), r"must have shape \(m, 2\), got a tensor of shape \(1, 3\)"),
        (torch.zeros(1, 2, dtype=torch.uint8), "divide 8-bit images by 255"),
        (torch.tensor([[0.0, 1.0], [0.0, torch.nan]]), "image 1 of 2 holds NaN or infinity"),
        (torch.tensor([[torch.inf, -torch.inf]]), "image 0 of 1"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: Any, words: str) -> None:
    with pytest.raises(InvalidImages, match=words):
        InputSpec((2,)).check(images)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": ()}, "shape must be that of one image"),
        ({"shape": 3}, "shape must be that of one image"),
        ({"shape": (3, 0)}, "shape must be that of one image"),
        ({"shape": (3.0,)}, "shape must be that of one image"),
        ({"shape": (2,), "low": 1.0}, "low must be below high, got low=1 and high=1"),
        ({"shape": (2,), "high": float("inf")}, "high must be a finite number"),
        ({"shape": (2,), "low": "0"}, "low must be a finite number"),
        ({"shape": (2,), "levels": 1}, "levels must be an integer of at least 2"),
        ({"shape": (2,), "levels": 2.5}, "levels must be an integer of at least 2"),
        ({"shape": (2,), "clip": 1}, "clip must be True or False"),
    ],
)
def test_bad_specs_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        InputSpec(**arguments)


def test_a_shape_stands_for_a_spec() -> None:
    assert InputSpec.of((3, 8, 8)) == InputSpec((3, 8, 8))
    spec = InputSpec((4,), low=-1, levels=16)
    assert InputSpec.of(spec) is spec
    assert spec.size == 4
    assert InputSpec.of(torch.Size((1, 2))).shape == (1, 2)
