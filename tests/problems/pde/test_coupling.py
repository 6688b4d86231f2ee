"""Couplings: what the network sees, where its output goes, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.pde.coupling import Additive, Coupling, Staggered, corrected
from zotoolkit.errors import InvalidSetting, InvalidState


def test_additive_scales_both_ends() -> None:
    state = torch.arange(12.0).view(3, 4)
    coupling = Additive(scale=2.0)
    assert torch.equal(coupling.inputs(state, torch.empty(3, 0)), state / 2)
    assert torch.equal(coupling.add(state, torch.ones(3, 4)), state + 2)
    assert torch.equal(corrected(coupling, lambda x: -x, state, torch.empty(3, 0)), torch.zeros(3, 4))


@pytest.mark.parametrize("lead", [(3,), (5, 3)])
def test_parameters_become_constant_channels(lead: tuple[int, ...]) -> None:
    state, params = torch.randn(*lead, 2, 4, 6), torch.rand(*lead, 2)
    inputs = Additive(1.0, [2.0, 4.0]).inputs(state, params)
    assert inputs.shape == (*lead, 4, 4, 6)
    assert torch.equal(inputs[..., :2, :, :], state)
    assert torch.equal(inputs[..., 2, 1, 3], params[..., 0] / 2)
    assert bool((inputs[..., 3, :, :] == (params[..., 1] / 4)[..., None, None]).all())


@pytest.mark.parametrize("lead", [(3,), (5, 3)])
def test_staggered_touches_the_lower_faces_only(lead: tuple[int, ...]) -> None:
    state, params = torch.randn(*lead, 2, 9, 5), torch.rand(*lead, 1)
    coupling = Staggered(0.5, [2.0])
    inputs = coupling.inputs(state, params)
    assert inputs.shape == (*lead, 3, 8, 4)
    assert torch.equal(inputs[..., :2, :, :], state[..., :-1, :-1] / 0.5)
    after = coupling.add(state, torch.ones(*lead, 2, 8, 4))
    assert torch.allclose(after[..., :-1, :-1], state[..., :-1, :-1] + 0.5)
    assert torch.equal(after[..., -1, :], state[..., -1, :])
    assert torch.equal(after[..., -1], state[..., -1])


@pytest.mark.parametrize("coupling", [Additive(), Staggered(1.0, [1.0])])
def test_nothing_is_written_into(coupling: Coupling) -> None:
    state, params = torch.randn(3, 2, 9, 5), torch.rand(3, 1)
    before = state.clone()
    coupling.add(state, torch.ones_like(state) if isinstance(coupling, Additive) else torch.ones(3, 2, 8, 4))
    coupling.inputs(state, params).mul(2)
    assert torch.equal(state, before)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), "1"])
@pytest.mark.parametrize("make", [Additive, lambda s: Additive(1.0, [s]), lambda s: Staggered(s, [1.0])])
def test_scales_are_positive(make: Any, scale: Any) -> None:
    with pytest.raises(InvalidSetting, match="scale"):
        make(scale)


def test_outputs_that_do_not_fit() -> None:
    with pytest.raises(InvalidState, match=r"must return what a state is, \(3, 8\)"):
        Additive().add(torch.ones(3, 8), torch.ones(3, 1, 8))
    with pytest.raises(InvalidState, match=r"must return \(3, 2, 8, 4\)"):
        Staggered(1.0, [1.0]).add(torch.ones(3, 2, 9, 5), torch.ones(3, 2, 9, 5))


def test_parameters_that_do_not_fit() -> None:
    with pytest.raises(InvalidSetting, match="must hold 2 numbers, one a parameter, got 1"):
        Additive(1.0, [1.0]).inputs(torch.ones(3, 2, 4), torch.ones(3, 2))
    with pytest.raises(InvalidSetting, match="channels of states"):
        Additive(1.0, [1.0]).inputs(torch.ones(3, 8), torch.ones(3, 1))
