from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, vmap

from problems.pde.correctors.near_wall import NearWallCorrector
from zotoolkit.errors import InvalidState
from zotoolkit.seeding import torch_generator


def drawn(seed: int, rows: int = 6, columns: int = 5, count: int = 2) -> tuple[NearWallCorrector, Tensor]:
    generator = torch_generator(seed)
    corrector = NearWallCorrector().double()
    with torch.no_grad():
        for parameter in corrector.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return corrector, torch.randn(count, 2, rows, columns, generator=generator, dtype=torch.float64)


def cell_by_cell(corrector: NearWallCorrector, velocity: Tensor) -> Tensor:
    """The formula in the module's head, one cell at a time."""
    (_, rows, columns), output = velocity.shape, torch.zeros_like(velocity)
    sizes = (rows, columns)

    def balance(weight: Tensor, field: Tensor, axis: int, place: tuple[int, int]) -> Tensor:
        total = field.new_zeros(())
        for step in (1, -1):
            there = list(place)
            there[axis] += step
            if 0 <= there[axis] < sizes[axis]:
                far = (there[0], there[1])
                total = total + (weight[place] + weight[far]) / 2 * (field[far] - field[place])
        return total

    def everywhere(weight: Tensor, field: Tensor, axis: int) -> Tensor:
        found = torch.zeros_like(field)
        for row in range(rows):
            for column in range(columns):
                found[row, column] = balance(weight, field, axis, (row, column))
        return found

    one = torch.ones(sizes, dtype=velocity.dtype)
    for component in (0, 1):
        for axis in (0, 1):
            a, b, e = corrector.interior[:, 0 if axis == component else 1]
            weight, field = velocity[axis].abs(), velocity[component]
            bent = everywhere(one, field, axis)
            output[component] += a * everywhere(weight, field, axis) + b * everywhere(weight, bent, axis)
            output[component] += e * everywhere(one, bent, axis)
    lid, floor, sides = corrector.walls
    for near in (0, 1):
        output[1, -1 - near] += lid[near] * velocity[1, -1 - near]
        output[1, near] += floor[near] * velocity[1, near]
        output[0, :, near] += sides[near] * velocity[0, :, near]
        output[0, :, -1 - near] += sides[near] * velocity[0, :, -1 - near]
    return output


@pytest.mark.parametrize("sizes", [(4, 4), (6, 5)])
def test_it_is_the_formula(sizes: tuple[int, int]) -> None:
    corrector, velocity = drawn(1, *sizes)
    with torch.no_grad():
        wanted = torch.stack([cell_by_cell(corrector, one) for one in velocity])
        torch.testing.assert_close(corrector(velocity), wanted)


@given(seed=st.integers(0, 1000))
def test_mirrored_flows_are_corrected_alike(seed: int) -> None:
    corrector, velocity = drawn(seed)
    mirror = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(corrector(velocity.flip(-1) * mirror), corrector(velocity).flip(-1) * mirror)


@given(seed=st.integers(0, 1000))
def test_the_interior_moves_momentum_and_makes_none(seed: int) -> None:
    corrector, velocity = drawn(seed)
    with torch.no_grad():
        corrector.walls.zero_()
    torch.testing.assert_close(corrector(velocity).sum((2, 3)), torch.zeros(2, 2, dtype=torch.float64))


def test_it_is_linear_in_its_parameters_and_starts_with_nothing() -> None:
    first, velocity = drawn(1)
    second, _ = drawn(2)
    both = NearWallCorrector().double()
    assert not bool(both(velocity).any())
    with torch.no_grad():
        both.interior.copy_(first.interior + second.interior)
        both.walls.copy_(first.walls + second.walls)
    torch.testing.assert_close(both(velocity), first(velocity) + second(velocity))


def test_it_takes_back_what_upwinding_smears() -> None:
    """Along y, flow of speed 1: a = -w on the field and w times its second difference cancel."""
    corrector = NearWallCorrector().double()
    velocity = torch.ones(1, 2, 8, 8, dtype=torch.float64)
    velocity[0, 1] = torch.sin(torch.arange(8.0, dtype=torch.float64))[:, None]
    with torch.no_grad():
        corrector.interior[0, 1] = -0.25
    smeared = velocity[0, 1, 2:] - 2 * velocity[0, 1, 1:-1] + velocity[0, 1, :-2]
    torch.testing.assert_close(corrector(velocity)[0, 1, 1:-1], -0.25 * smeared)


def test_many_candidates_at_once() -> None:
    corrector, velocity = drawn(4)
    parameters = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in corrector.named_parameters()}
    together = vmap(lambda p: functional_call(corrector, p, (velocity,)))(parameters)
    torch.testing.assert_close(together[0], corrector(velocity))
    torch.testing.assert_close(together[1], 2 * corrector(velocity))


@pytest.mark.parametrize("shape", [(2, 6, 6), (1, 3, 6, 6), (1, 2, 3, 6), (1, 2, 6, 3)])
def test_velocities_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidState, match="at least 4 rows and columns, got a tensor of shape"):
        NearWallCorrector()(torch.zeros(shape))
