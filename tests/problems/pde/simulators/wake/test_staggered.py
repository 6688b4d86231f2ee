"""Divergence, vorticity and down-sampling against formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from problems.pde.simulators.wake import divergence, downsample, vorticity
from zotoolkit.errors import InvalidSetting, InvalidState
from zotoolkit.seeding import torch_generator


def _random(*shape: int) -> Tensor:
    velocity = torch.randn(*shape, generator=torch_generator(0), dtype=torch.float64)
    velocity[..., 0, :, -1] = velocity[..., 1, -1, :] = 0
    return velocity


def test_a_rotation_has_twice_its_rate_as_vorticity_and_no_divergence() -> None:
    rate, spacing = 0.7, 0.5
    velocity = torch.zeros(2, 9, 7, dtype=torch.float64)
    velocity[0, :, :-1] = rate * spacing * (torch.arange(6).double() + 0.5)  # v_y = rate x
    velocity[1, :-1, :] = -rate * spacing * (torch.arange(8).double() + 0.5)[:, None]  # v_x = -rate y
    torch.testing.assert_close(vorticity(velocity, spacing), torch.full((7, 5), 2 * rate, dtype=torch.float64))
    torch.testing.assert_close(divergence(velocity), torch.zeros(8, 6, dtype=torch.float64))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_downsampling_keeps_the_flow_out_of_a_cell(factor: int, rows: int, columns: int) -> None:
    fine = _random(3, 2, factor * rows + 1, factor * columns + 1)
    coarse = downsample(fine, factor)
    assert coarse.shape == (3, 2, rows + 1, columns + 1)
    blocks = divergence(fine).view(3, rows, factor, columns, factor).sum((2, 4))
    torch.testing.assert_close(divergence(coarse) * factor, blocks)
    assert not coarse[:, 0, :, -1].any()
    assert not coarse[:, 1, -1].any()


def test_downsampling_by_four_takes_every_fourth_face_and_averages_along_it() -> None:
    fine = _random(2, 9, 5)
    coarse = downsample(fine)
    assert float(coarse[0, 1, 0]) == pytest.approx(float(fine[0, 4, :4].mean()))
    assert float(coarse[1, 1, 1]) == pytest.approx(float(fine[1, 4:8, 4].mean()))
    torch.testing.assert_close(coarse, downsample(downsample(fine, 2), 2))


@pytest.mark.parametrize("factor", [3, 8])
def test_grids_that_do_not_divide(factor: int) -> None:
    with pytest.raises(InvalidSetting, match=rf"8 x 4 cells, got {factor}"):
        downsample(torch.zeros(2, 9, 5), factor)
    with pytest.raises(InvalidSetting, match="factor"):
        downsample(torch.zeros(2, 9, 5), 0)


@pytest.mark.parametrize("bad", [torch.zeros(3, 9, 5), torch.zeros(9, 5), torch.zeros(2, 9, 5).int(), None])
def test_layouts_that_are_none(bad: object) -> None:
    with pytest.raises(InvalidState, match="v_y first"):
        downsample(bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidState, match="v_y first"):
        vorticity(bad)  # pyright: ignore[reportArgumentType]


def test_spacing_must_be_positive() -> None:
    with pytest.raises(InvalidSetting, match="spacing"):
        vorticity(torch.zeros(2, 9, 5), 0.0)
