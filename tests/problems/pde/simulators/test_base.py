"""What every simulator has from its base: checks, rows that are not finite, chunks, counting, roll-outs."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from typing_extensions import override

from problems.pde.simulators import KuramotoSivashinsky, Simulator, rollout
from zotoolkit.errors import InputMutated, InvalidSetting, InvalidState


class Decay(Simulator):
    """u' = -rate u, exactly; notes how many states each call had."""

    def __init__(self, fields: tuple[int, ...] = (2, 3), **settings: Any) -> None:
        settings.setdefault("differentiable", True)
        super().__init__(fields, ("rate",), **settings)
        self.calls: list[int] = []

    @override
    def check_params(self, params: Tensor) -> None:
        if bool((params < 0).any()):
            raise InvalidState("rate must not be below 0.")

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        self.calls.append(len(state))
        return state * torch.exp(-params).view(-1, *(1 for _ in self.fields))


class Answers(Simulator):
    """Answers with whatever it is told to."""

    def __init__(self, answer: Any) -> None:
        super().__init__((4,))
        self.answer = answer

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        return self.answer(state, params)


def test_states_advance_each_with_its_own_parameters() -> None:
    state, rate = torch.rand(5, 2, 3), torch.rand(5, 1)
    after = Decay().step(state, rate)
    torch.testing.assert_close(after, state * torch.exp(-rate)[:, :, None])


@given(
    fields=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    count=st.integers(0, 7),
    max_batch=st.none() | st.integers(1, 8),
    double=st.booleans(),
)
def test_shapes_chunks_and_counts(fields: list[int], count: int, max_batch: int | None, double: bool) -> None:
    decay = Decay(tuple(fields), max_batch=max_batch)
    dtype = torch.float64 if double else torch.float32
    state, rate = torch.rand(count, *fields, dtype=dtype), torch.rand(count, 1, dtype=dtype)
    after = decay.step(state, rate)
    assert after.shape == state.shape
    assert after.dtype == dtype
    assert decay.state_steps == count == sum(decay.calls)
    assert max(decay.calls, default=0) <= (max_batch or count)
    assert torch.equal(after, Decay(tuple(fields)).step(state, rate))


@given(bad=st.sets(st.integers(0, 5)), in_params=st.booleans(), value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_rows_that_are_not_finite_stay_so_and_harm_nobody(bad: set[int], in_params: bool, value: float) -> None:
    decay, state, rate = Decay(max_batch=4), torch.rand(6, 2, 3), torch.rand(6, 1)
    expected = decay.step(state, rate)
    broken, rates = state.clone(), rate.clone()
    for row in bad:
        if in_params:
            rates[row] = value
        else:
            broken[row, 1, 2] = value
    decay.state_steps = 0
    kept = broken.clone()
    after = decay.step(broken, rates)
    good = [row for row in range(6) if row not in bad]
    assert torch.equal(after[good], expected[good])
    assert bool(after[sorted(bad)].isnan().all())
    assert decay.state_steps == len(good)
    assert torch.equal(broken.nan_to_num(7), kept.nan_to_num(7))


def test_finite_states_whose_sum_is_not_are_advanced() -> None:
    state = torch.full((2, 2, 3), torch.finfo(torch.float32).max)
    assert bool(torch.isfinite(Decay().step(state, torch.zeros(2, 1))).all())


def test_gradients_pass_rows_that_are_not_finite() -> None:
    state = torch.rand(3, 2, 3)
    state[1] = math.nan
    state.requires_grad_()
    rate = torch.zeros(3, 1)
    Decay().step(state, rate)[[0, 2]].sum().backward()
    assert state.grad is not None
    assert torch.equal(state.grad[[0, 2]], torch.ones(2, 2, 3))
    assert torch.equal(state.grad[1], torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("state", "params", "words"),
    [
        (torch.zeros(3, 2, 4), torch.zeros(3, 1), "takes (B, 2, 3) states of float32 or float64"),
        (torch.zeros(2, 3), torch.zeros(1, 1), "takes (B, 2, 3) states"),
        (torch.tensor(1.0), torch.zeros(1, 1), "takes (B, 2, 3) states"),
        (torch.zeros(3, 2, 3).half(), torch.zeros(3, 1).half(), "float32 or float64"),
        (torch.zeros(3, 2, 3).int(), torch.zeros(3, 1), "float32 or float64"),
        ([[1.0]], torch.zeros(1, 1), "got [[1.0]] (list)"),
        (torch.zeros(3, 2, 3), torch.zeros(3), "params of shape (3, 1) (rate)"),
        (torch.zeros(3, 2, 3), torch.zeros(2, 1), "params of shape (3, 1)"),
        (torch.zeros(3, 2, 3), torch.zeros(3, 1).double(), "the states' dtype torch.float32"),
        (torch.zeros(3, 2, 3), None, "got None"),
        (torch.zeros(3, 2, 3), torch.zeros(3, 1, device="meta"), "states are on cpu and params on meta"),
        (torch.zeros(3, 2, 3), -torch.ones(3, 1), "rate must not be below 0"),
    ],
)
def test_input_that_does_not_fit(state: Any, params: Any, words: str) -> None:
    decay = Decay()
    with pytest.raises(InvalidState, match=re.escape(words)):
        decay.step(state, params)
    assert decay.state_steps == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda state, _: state[:1], "must return (2, 4) states"),
        (lambda state, _: state.double(), "states of torch.float32"),
        (lambda state, _: state.tolist(), "must return (2, 4) states"),
        (lambda state, _: torch.zeros(2, 4, device="meta"), "returned some on meta"),
    ],
)
def test_answers_of_another_form(answer: Any, words: str) -> None:
    with pytest.raises(InvalidState, match=re.escape(words)):
        Answers(answer).step(torch.ones(2, 4))


def test_writing_into_the_input_is_found() -> None:
    with pytest.raises(InputMutated, match="wrote into the states; work on a clone"):
        Answers(lambda state, _: state.mul_(2)).step(torch.ones(2, 4))


def test_an_answer_never_shares_memory_with_the_input() -> None:
    state = torch.ones(2, 4)
    after = Answers(lambda state, _: state).step(state)
    after += 1
    assert torch.equal(state, torch.ones(2, 4))


def test_no_gradient_where_there_is_none() -> None:
    fixed = Decay(differentiable=False)
    state = torch.ones(1, 2, 3, requires_grad=True)
    with pytest.raises(InvalidState, match="has no gradient"):
        fixed.step(state, torch.zeros(1, 1))
    with torch.no_grad():
        assert not fixed.step(state, torch.zeros(1, 1)).requires_grad
    assert Decay().step(state, torch.zeros(1, 1)).requires_grad


@pytest.mark.parametrize(
    "settings",
    [
        {"fields": ()},
        {"fields": (0,)},
        {"fields": "48"},
        {"fields": 48},
        {"fields": (4.0,)},
        {"fields": (4,), "parameters": "reynolds"},
        {"fields": (4,), "parameters": ("a", "a")},
        {"fields": (4,), "parameters": ("",)},
        {"fields": (4,), "parameters": (1,)},
        {"fields": (4,), "max_batch": 0},
        {"fields": (4,), "tol": -1e-3},
        {"fields": (4,), "tol": math.nan},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    class Still(Simulator):
        @override
        def advance(self, state: Tensor, params: Tensor) -> Tensor:
            return state

    with pytest.raises(InvalidSetting):
        Still(**settings)


def test_accuracy_is_the_larger_of_tolerance_and_rounding() -> None:
    assert Decay().accuracy(torch.float32) == torch.finfo(torch.float32).eps
    assert Decay().accuracy(torch.float64) == torch.finfo(torch.float64).eps
    assert Decay(tol=1e-5).accuracy(torch.float64) == 1e-5
    assert Decay(tol=1e-9).accuracy(torch.float32) == torch.finfo(torch.float32).eps


# Roll-outs ------------------------------------------------------------------------------------------------------------


@given(kept=st.integers(0, 4), every=st.integers(1, 4), count=st.integers(1, 3))
def test_a_rollout_keeps_what_steps_give(kept: int, every: int, count: int) -> None:
    decay, state, rate = Decay(), torch.rand(count, 2, 3), torch.rand(count, 1)
    path = rollout(decay, state, rate, kept * every, every)
    assert path.shape == (1 + kept, count, 2, 3)
    assert decay.state_steps == count * kept * every
    expected = state
    for entry in path:
        assert torch.equal(entry, expected)
        for _ in range(every):
            expected = Decay().step(expected, rate)


def test_a_row_that_blows_up_stays_nan() -> None:
    square = Answers(lambda state, _: state**3)
    path = rollout(square, torch.tensor([[0.5] * 4, [1e30] * 4]), None, 3)
    assert bool(torch.isfinite(path[:, 0]).all())
    assert bool(path[2:, 1].isnan().all())
    assert square.state_steps == 3 + 1


@pytest.mark.parametrize(
    ("steps", "every", "words"),
    [(3, 2, "every must divide steps"), (-1, 1, "steps"), (2, 0, "every"), (1.5, 1, "steps")],
)
def test_rollout_settings(steps: Any, every: int, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        rollout(Decay(), torch.zeros(1, 2, 3), torch.zeros(1, 1), steps, every)


def test_rollout_checks_even_what_it_does_not_advance() -> None:
    with pytest.raises(InvalidState, match="takes"):
        rollout(KuramotoSivashinsky(), torch.zeros(1, 47), None, 0)
    with pytest.raises(InvalidSetting, match="from_step makes one"):
        rollout(lambda state: state, torch.zeros(1, 47), None, 1)  # type: ignore[arg-type]


def test_a_simulator_is_closed_by_its_context_and_can_be_copied() -> None:
    class Open(Decay):
        closed = False

        @override
        def close(self) -> None:
            self.closed = True

    with Open() as simulator:
        simulator.step(torch.ones(1, 2, 3), torch.ones(1, 1))
    assert simulator.closed
    used = KuramotoSivashinsky()
    state = used.start(2)
    after = used.step(state)
    twin = copy.deepcopy(used)
    assert torch.equal(twin.step(state), after)
    assert (used.state_steps, twin.state_steps) == (2, 4)


def test_names_say_what_it_is() -> None:
    assert repr(Decay()) == "<Decay: states (2, 3), rate>"
    assert repr(KuramotoSivashinsky()) == "<KuramotoSivashinsky: states (48,), no parameters>"
