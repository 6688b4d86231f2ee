"""Masks that know layers: sizes, purity, renewal by iterations and epochs, what an objective must tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import zotoolkit
from zotoolkit.engines import ParameterLayout
from zotoolkit.errors import DeadLayerWarning, InvalidSetting
from zotoolkit.masks import LayerwiseRandomMask, MagnitudeMask
from zotoolkit.masks.ratios import MASKABLE
from zotoolkit.structure import Structure

NETWORK = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
LAYOUT = ParameterLayout.of(NETWORK)
DIM = LAYOUT.dim
OTHERS = sorted(set(range(DIM)) - set(LAYOUT.coordinates(*MASKABLE).tolist()))
X0 = torch.linspace(-1, 1, DIM)


@given(
    conv=st.floats(0, 1),
    linear=st.floats(0, 1),
    refresh=st.integers(1, 9),
    iteration=st.integers(0, 10**6),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_layer_keeps_its_share_and_everything_else_is_alive(
    conv: float, linear: float, refresh: int, iteration: int, seed: int
) -> None:
    mask = LayerwiseRandomMask({"0.weight": conv, "3.weight": linear}, refresh, layout=LAYOUT)
    alive = mask.alive(DIM, iteration, seed)
    assert bool((alive[1:] > alive[:-1]).all())
    sizes = torch.bincount(LAYOUT.slot_of(alive), minlength=len(LAYOUT.slots)).tolist()
    expected = {"0.weight": round(conv * 36), "3.weight": round(linear * 48)}
    assert sizes == [expected.get(slot.name, slot.size) for slot in LAYOUT.slots]
    assert set(OTHERS) <= set(alive.tolist())
    first = iteration - iteration % refresh
    assert all(torch.equal(mask.alive(DIM, i, seed), alive) for i in range(first, first + refresh))


def test_it_changes_when_it_is_refreshed_and_with_the_seed() -> None:
    mask = LayerwiseRandomMask(0.5, refresh=3, layout=LAYOUT)
    assert not torch.equal(mask.alive(DIM, 2, 0), mask.alive(DIM, 3, 0))
    assert not torch.equal(mask.alive(DIM, 2, 0), mask.alive(DIM, 2, 1))


def test_each_coordinate_of_a_layer_is_kept_equally_often() -> None:
    mask, seen = LayerwiseRandomMask({"0.weight": 0.25, "3.weight": 0.5}, layout=LAYOUT), torch.zeros(DIM)
    for iteration in range(2000):
        seen[mask.alive(DIM, iteration, 0)] += 1
    # Binomial deviations sqrt(2000 p (1 - p)) of at most 22.4.
    assert float((seen[:36] - 500).abs().max()) < 5 * 19.4
    linear = LAYOUT["3.weight"]
    assert float((seen[linear.start : linear.stop] - 1000).abs().max()) < 5 * 22.4
    assert bool((seen[OTHERS] == 2000).all())


def test_layers_are_drawn_apart() -> None:
    """What one layer keeps does not depend on another one's ratio."""
    few = LayerwiseRandomMask({"0.weight": 0.1, "3.weight": 0.5}, layout=LAYOUT).alive(DIM, 0, 0)
    many = LayerwiseRandomMask({"0.weight": 0.9, "3.weight": 0.5}, layout=LAYOUT).alive(DIM, 0, 0)
    assert torch.equal(few[few >= 36], many[many >= 36])


def test_epochs_become_iterations_and_shares_become_ratios() -> None:
    mask = LayerwiseRandomMask(0.25, refresh_epochs=2).prepared(Structure(LAYOUT, 7), X0)
    assert mask == LayerwiseRandomMask({"0.weight": 9 / 36, "3.weight": 12 / 48}, 14, layout=LAYOUT)
    assert mask.prepared(Structure(), X0) == mask


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0.0}, r"keep must be a number in \(0, 1\], got 0.0"),
        ({"keep": {"0.weight": 1.5}}, r"keep\['0.weight'\] must be a number in \[0, 1\], got 1.5"),
        ({"keep": 0.5, "refresh": 0}, "refresh must be an integer of at least 1, got 0"),
        ({"keep": 0.5, "refresh_epochs": 0}, "refresh_epochs must be an integer of at least 1, got 0"),
        ({"keep": 0.5, "refresh": 2, "refresh_epochs": 1}, "give refresh or refresh_epochs, not both: got 2 and 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        LayerwiseRandomMask(**settings)


@pytest.mark.parametrize(
    ("mask", "structure", "message"),
    [
        (LayerwiseRandomMask(0.5), Structure(), "LayerwiseRandomMask needs an objective with an attribute `layout`"),
        (LayerwiseRandomMask(0.5, refresh_epochs=1), Structure(LAYOUT), r"metadata\['batches_per_epoch'\]; count in"),
        (LayerwiseRandomMask({"0.weight": 0.5}), Structure(LAYOUT), "has none for 3.weight"),
        (
            LayerwiseRandomMask({"0.weight": 0.5, "3.wieght": 1.0}),
            Structure(LAYOUT),
            "'3.wieght', which is no .* Did you mean '3.weight'",
        ),
        (LayerwiseRandomMask(0.5), Structure(ParameterLayout.of(nn.Linear(2, 1))), f"of 3 coordinates, .* are {DIM}"),
    ],
)
def test_objectives_that_do_not_tell_what_is_needed(mask: Any, structure: Structure, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        mask.prepared(structure, X0)


def test_masks_that_know_nothing_yet_say_so() -> None:
    for mask in (LayerwiseRandomMask(0.5), MagnitudeMask(0.5)):
        with pytest.raises(InvalidSetting, match=r"solver.attach|prepared\(structure, x0\)"):
            mask.alive(DIM, 0, 0)
    nothing = LayerwiseRandomMask({"weight": 0.0}, layout=ParameterLayout.of(nn.Linear(3, 1, bias=False)))
    with pytest.raises(InvalidSetting, match="leaves no coordinate alive"):
        nothing.alive(3, 0, 0)


# Magnitude ------------------------------------------------------------------------------------------------------------


def test_the_largest_of_the_network_or_of_each_layer_stay_alive() -> None:
    x0 = torch.zeros(DIM)
    x0[:36] = torch.arange(36.0) + 100  # all of the convolution is larger than all of the linear layer
    linear = LAYOUT["3.weight"]
    x0[linear.start : linear.stop] = -torch.arange(48.0)
    by_layer = MagnitudeMask(0.75, "layer").prepared(Structure(LAYOUT), x0).alive(DIM, 5, 3)
    assert by_layer.tolist() == [*range(27, 36), *OTHERS[:-3], *range(linear.stop - 12, linear.stop), *OTHERS[-3:]]
    with pytest.warns(DeadLayerWarning, match=r"no coordinate of 3\.weight"):
        everywhere = MagnitudeMask(0.75).prepared(Structure(LAYOUT), x0).alive(DIM, 0, 0)
    assert everywhere.tolist() == [*range(15, 36), *OTHERS]
    some = MagnitudeMask(0.75, least=2).prepared(Structure(LAYOUT), x0).alive(DIM, 0, 0)
    assert {linear.stop - 2, linear.stop - 1} <= set(some.tolist())
    assert len(some) == len(everywhere)


def test_magnitude_settings_that_cannot_be() -> None:
    with pytest.raises(InvalidSetting, match=r"sparsity must be a number in \[0, 1\), got 1"):
        MagnitudeMask(1.0)
    with pytest.raises(InvalidSetting, match="scope must be one of 'global', 'layer', got 'layers'"):
        MagnitudeMask(0.5, "layers")


# Solvers tell masks and estimators what the objective tells -----------------------------------------------------------


@pytest.mark.parametrize("mask", [LayerwiseRandomMask(0.2, refresh_epochs=1), MagnitudeMask(0.8, least=1)])
@pytest.mark.parametrize("estimator", [zotoolkit.CGE(), zotoolkit.RGE(q=4, normalize="per-tensor")])
def test_a_gradient_solver_attached_to_a_network_uses_its_layers(mask: Any, estimator: Any) -> None:
    objective = zotoolkit.make("DNN/DigitsCNN-v0")
    wrapped = zotoolkit.Noise(objective, std=1e-9)
    solver = zotoolkit.GradientSolver(estimator, lambda parameters: torch.optim.SGD(parameters, lr=0.1), mask=mask)
    budget = 40 * 5 if isinstance(estimator, zotoolkit.RGE) else 400  # below the 44 iterations of an epoch
    result = zotoolkit.minimize(wrapped, solver, budget=budget, progress=False)
    x0, _ = objective.reset(seed=0)
    alive = mask.prepared(Structure.of(objective), x0).alive(objective.dim, 0, 0)
    assert len(alive) == objective.dim - 644 + 129  # of 644 weights 20 %
    moved = torch.nonzero(result.x != x0).flatten()
    assert set(moved.tolist()) <= set(alive.tolist())
    assert len(moved) > 0.95 * len(alive)
    assert (solver.mask, solver.estimator) == (mask, estimator)  # what was composed serves again


def test_without_layers_it_says_what_is_missing() -> None:
    objective = zotoolkit.make("Functions/Sphere-v0", dim=3)
    solver = zotoolkit.GradientSolver(
        zotoolkit.CGE(), lambda p: torch.optim.SGD(p, lr=0.1), mask=LayerwiseRandomMask(0.5)
    )
    with pytest.raises(InvalidSetting, match="attribute `layout`"):
        zotoolkit.minimize(objective, solver, budget=10, progress=False)
