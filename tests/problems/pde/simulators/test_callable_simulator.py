from __future__ import annotations

import logging
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from problems.pde.simulators import from_step, rollout
from zotoolkit.errors import InputMutated, InvalidSetting, InvalidState


def heat(u: Any, params: Any) -> Any:
    """Explicit diffusion on the last axis; one state or many, NumPy or torch."""
    roll = np.roll if isinstance(u, np.ndarray) else torch.roll
    return u + params[..., :1] * (roll(u, 1, -1) - 2 * u + roll(u, -1, -1))


@given(batched=st.booleans(), numpy=st.booleans(), count=st.integers(0, 5), double=st.booleans())
def test_all_four_ways_are_the_same_step(batched: bool, numpy: bool, count: int, double: bool) -> None:
    dtype = torch.float64 if double else torch.float32
    simulator = from_step(
        heat, fields=(6,), parameters=["diffusion"], batched=batched, library="numpy" if numpy else "torch"
    )
    state, params = torch.rand(count, 6, dtype=dtype), 0.2 * torch.rand(count, 1, dtype=dtype)
    after = simulator.step(state, params)
    assert after.dtype == dtype
    torch.testing.assert_close(after, heat(state, params))
    assert simulator.state_steps == count


def test_a_module_as_it_is_and_with_its_gradient() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    state = torch.rand(3, 4)
    fixed = from_step(module, fields=(4,))
    assert not fixed.step(state).requires_grad
    torch.testing.assert_close(fixed.step(state), module(state).detach())
    open_one = from_step(module, fields=(4,), differentiable=True)
    state.requires_grad_()
    open_one.step(state).sum().backward()
    (expected,) = torch.autograd.grad(module(state).sum(), state)
    torch.testing.assert_close(state.grad, expected)
    assert repr(fixed) == "<Sequential: states (4,), no parameters>"


def test_gradients_of_a_function_of_one_state() -> None:
    simulator = from_step(heat, fields=(5,), parameters=("diffusion",), batched=False, differentiable=True)
    state, params = torch.rand(2, 5).double().requires_grad_(), torch.rand(2, 1).double().requires_grad_()
    assert torch.autograd.gradcheck(simulator.step, (state, params))


def test_max_batch_is_kept() -> None:
    sizes: list[int] = []

    def note(u: torch.Tensor) -> torch.Tensor:
        sizes.append(len(u))
        return u + 1

    assert rollout(from_step(note, fields=(2,), max_batch=3), torch.zeros(7, 2), None, 2)[-1].unique().tolist() == [2.0]
    assert sizes == [3, 3, 1, 3, 3, 1]


def test_states_of_several_axes() -> None:
    flow = from_step(lambda state: state[::-1].copy(), fields=(2, 3, 4), batched=False, library="numpy")
    state = torch.rand(5, 2, 3, 4)
    assert torch.equal(flow.step(state), state.flip(1))


def test_a_row_that_raises_becomes_nan_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fragile(u: np.ndarray) -> np.ndarray:
        if u[0] > 1:
            raise ArithmeticError("the mesh does not close")
        return u * 2

    simulator = from_step(fragile, fields=(2,), batched=False, library="numpy")
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        after = simulator.step(torch.tensor([[0.5, 1.0], [2.0, 1.0], [0.1, 0.2]]))
    assert "fragile failed for 1 of 3 states, which become NaN; row 1: ArithmeticError: the mesh" in caplog.text
    assert bool(after[1].isnan().all())
    torch.testing.assert_close(after[[0, 2]], torch.tensor([[1.0, 2.0], [0.2, 0.4]]))
    with pytest.raises(ArithmeticError, match="the mesh does not close"):
        simulator.step(torch.full((2, 2), 3.0))


def test_nan_never_reaches_the_function() -> None:
    def strict(u: np.ndarray) -> np.ndarray:
        if not np.isfinite(u).all():
            raise FloatingPointError("got NaN")
        return u

    after = from_step(strict, fields=(2,), library="numpy").step(torch.tensor([[1.0, math.nan], [1.0, 2.0]]))
    assert bool(after[0].isnan().all())
    assert torch.equal(after[1], torch.tensor([1.0, 2.0]))


def test_a_buffer_that_the_function_keeps_is_copied() -> None:
    kept = torch.zeros(1, 2)
    simulator = from_step(lambda u: kept.copy_(u + 1), fields=(2,))
    path = rollout(simulator, torch.zeros(1, 2), None, 3)
    assert path[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_writing_into_the_input_is_found(library: Any, batched: bool) -> None:
    def careless(u: Any) -> Any:
        u *= 2
        return u

    state = torch.ones(2, 3)
    simulator = from_step(careless, fields=(3,), library=library, batched=batched)
    with pytest.raises(InputMutated, match="careless"):
        simulator.step(state)


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        (lambda u: u[0], {}, "A function of one state needs batched=False."),
        (lambda u: u[None], {"batched": False}, "A function of many states needs batched=True."),
        (lambda u: u.numpy(), {}, "is it a library='numpy' function?"),
        (lambda u: u.long(), {}, "must return (2, 3) states of torch.float32"),
        (lambda u: None, {}, "must return a tensor, got None"),
        (lambda u: u.tolist(), {"library": "numpy"}, "as an array, got"),
        (lambda u: u.astype(int), {"library": "numpy"}, "floating-point numbers as an array"),
        (lambda u: u.astype(complex), {"library": "numpy"}, "floating-point numbers as an array"),
        (lambda u: u[0], {"library": "numpy"}, "A function of one state needs batched=False."),
    ],
)
def test_answers_of_another_form(function: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidState, match=re.escape(words)):
        from_step(function, fields=(3,), **settings).step(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        (3, {}, "function must be callable, got 3 (int)"),
        (heat, {"library": "nunpy"}, "Did you mean 'numpy'?"),
        (heat, {"library": "numpy", "differentiable": True}, "autograd does not go through NumPy"),
        (heat, {"fields": (0,)}, "each size in fields"),
        (heat, {"parameters": "diffusion"}, "parameters must be names"),
    ],
)
def test_settings_that_cannot_be_used(function: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(words)):
        from_step(function, **({"fields": (3,)} | settings))
