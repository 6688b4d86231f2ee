"""A convolution into few channels against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from zotoolkit.engines.rules.shifted import convolve_to_few, pays, tap_weights
from zotoolkit.seeding import torch_generator


@given(
    channels=st.integers(1, 9),
    outputs=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    size=st.tuples(st.integers(4, 7), st.integers(4, 7)),
    innermost=st.booleans(),
)
def test_it_is_the_convolution(
    channels: int,
    outputs: int,
    kernel: tuple[int, int],
    pads: tuple[int, int, int, int],
    size: tuple[int, int],
    innermost: bool,
) -> None:
    generator = torch_generator(0)
    images = torch.randn(3, channels, *size, generator=generator, dtype=torch.float64)
    weight = torch.randn(outputs, channels, *kernel, generator=generator, dtype=torch.float64)
    if innermost:
        images = images.contiguous(memory_format=torch.channels_last)
    above, below, left, right = pads
    found = convolve_to_few(images, tap_weights(weight), kernel, ((above, below), (left, right)))
    wanted = functional.conv2d(functional.pad(images, (left, right, above, below)), weight)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("sizes", "worth"), [((16, 1), True), ((64, 3), True), ((16, 3), False), ((64, 64), False)])
def test_where_it_pays(sizes: tuple[int, int], worth: bool) -> None:
    assert pays(*sizes, 9) is worth
