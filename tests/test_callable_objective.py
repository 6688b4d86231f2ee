"""from_callable: scalar and batched functions, NumPy and torch, threads, contexts, and everything they may do wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import zotoolkit
from zotoolkit import DenseBatch, SeededBatch, Status, from_callable
from zotoolkit.errors import InputMutated, InvalidSetting, InvalidSpace, InvalidStart, InvalidValues

F64 = torch.float64


def batch(count: int = 4, dim: int = 3, dtype: torch.dtype = F64) -> DenseBatch:
    return DenseBatch.at(torch.arange(count * dim, dtype=dtype).reshape(count, dim))


def expected(asked: DenseBatch) -> list[float]:
    return (asked.points().double() ** 2).sum(dim=1).tolist()


FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "scalar numpy": (lambda x: float((x**2).sum()), {}),
    "scalar numpy, NumPy number": (lambda x: (x**2).sum(), {}),
    "scalar numpy, one-element array": (lambda x: np.array([(x**2).sum()]), {}),
    "scalar numpy, Python int": (lambda x: int((x**2).sum()), {}),
    "scalar numpy, one-element int array": (lambda x: np.array((x**2).sum(), dtype=np.int64), {}),
    "scalar torch": (lambda x: (x**2).sum(), {"library": "torch"}),
    "scalar torch, float": (lambda x: (x**2).sum().item(), {"library": "torch"}),
    "scalar threads": (lambda x: float((x**2).sum()), {"workers": 3}),
    "scalar torch threads": (lambda x: (x**2).sum(), {"workers": 3, "library": "torch"}),
    "batched numpy": (lambda x: (x**2).sum(axis=1), {"batched": True}),
    "batched torch": (lambda x: (x**2).sum(dim=1), {"batched": True, "library": "torch"}),
    "batched numpy, float32 answer": (lambda x: (x**2).sum(axis=1).astype(np.float32), {"batched": True}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kind_of_function(name: str, dtype: str) -> None:
    function, settings = FUNCTIONS[name]
    with from_callable(function, dim=3, dtype=dtype, **settings) as objective:
        asked = batch(dtype=getattr(torch, dtype))
        values, _, _, info = objective.step(asked)
        assert values.tolist() == expected(asked)
        assert info["status"].tolist() == [Status.OK] * 4
        assert info["costs"] == {"forward_equivalents": 4.0}


def test_a_batched_function_is_called_once() -> None:
    shapes: list[tuple[int, ...]] = []

    def function(x: np.ndarray) -> np.ndarray:
        shapes.append(x.shape)
        return x.sum(axis=1)

    from_callable(function, dim=3, batched=True).step(batch(1000))
    assert shapes == [(1000, 3)]


@given(seed=st.integers(0, 100), batched=st.booleans())
def test_points_are_what_the_batch_says(seed: int, batched: bool) -> None:
    seen: list[np.ndarray] = []

    def function(x: np.ndarray) -> Any:
        seen.append(x.copy())
        return x.sum(axis=-1)

    asked = SeededBatch(
        base=torch.ones(5, dtype=F64), scale=torch.ones(3, dtype=F64), seed=torch.arange(seed, seed + 3), law="normal"
    )
    from_callable(function, dim=5, batched=batched).step(asked)
    assert np.array_equal(np.concatenate([np.atleast_2d(x) for x in seen]), asked.points().numpy())


def test_a_function_with_a_parameter_context_is_told_it() -> None:
    def noisy(x: np.ndarray, context: int) -> float:
        return float(x.sum() + 100 * context)

    def keyword(x: np.ndarray, *, context: int = 0) -> float:
        return float(x.sum() + 100 * context)

    for function in (noisy, keyword):
        objective = from_callable(function, dim=2)
        asked = DenseBatch.at(torch.zeros(1, 2, dtype=F64), context=7)
        assert objective.step(asked)[0].item() == 700.0


def test_builtins_that_tell_no_signature_work() -> None:
    assert from_callable(max, dim=3, library="numpy").step(batch(2))[0].tolist() == [2.0, 5.0]


def test_callable_objects_work_and_give_their_name() -> None:
    class Model:
        def __call__(self, x: np.ndarray) -> float:
            return float(x.sum())

    objective = from_callable(Model(), dim=2)
    assert objective.metadata["name"] == "Model"
    assert from_callable(Model(), dim=2, name="mine").metadata["name"] == "mine"
    assert from_callable(np.sum, dim=2).metadata["name"] == "sum"


# Threads --------------------------------------------------------------------------------------------------------------


def test_worker_threads_answer_side_by_side() -> None:
    """No call returns before three are under way at once, so one thread alone would never end."""
    together = threading.Barrier(3, timeout=60)

    def waits(x: np.ndarray) -> float:
        together.wait()
        return float(x[0])

    with from_callable(waits, dim=3, workers=3) as objective:
        values, _, _, info = objective.step(batch(6))
    assert values.tolist() == batch(6).points()[:, 0].tolist()
    assert info["errors"] == {}


def test_worker_threads_record_no_gradients() -> None:
    weight = torch.ones(3, dtype=F64, requires_grad=True)
    modes: list[bool] = []

    def function(x: Tensor) -> Tensor:
        modes.append(torch.is_grad_enabled())
        return (weight * x).sum()

    with from_callable(function, dim=3, library="torch", workers=2) as objective:
        assert objective.step(batch(4))[3]["errors"] == {}
    assert modes == [False] * 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_call_that_raises_fails_alone_and_no_point_is_asked_twice(workers: int) -> None:
    calls: list[float] = []

    def fragile(x: np.ndarray) -> float:
        calls.append(float(x[0]))
        if x[0] in (3.0, 9.0):
            raise ZeroDivisionError(f"at {x[0]:g}")
        return float(x[0])

    with from_callable(fragile, dim=3, workers=workers) as objective:
        values, _, _, info = objective.step(batch(4))
    assert info["errors"] == {1: "ZeroDivisionError: at 3", 3: "ZeroDivisionError: at 9"}
    assert values[[0, 2]].tolist() == [0.0, 6.0]
    assert sorted(calls) == [0.0, 3.0, 6.0, 9.0]
    assert info["costs"] == {"forward_equivalents": 4.0}


# Answers --------------------------------------------------------------------------------------------------------------


def test_nan_and_infinity_are_not_finite() -> None:
    answers = iter([float("nan"), float("inf"), -float("inf"), 1.0])
    _, _, _, info = from_callable(lambda x: next(answers), dim=3).step(batch())
    assert info["status"].tolist() == [Status.NON_FINITE] * 3 + [Status.OK]


@pytest.mark.parametrize(
    "function",
    [lambda x: x[:, 0], lambda x: x.sum(axis=1)[::-1], lambda x: np.broadcast_to(x[0, 0], len(x)), lambda x: x.T[0]],
    ids=["view of the read-only input", "reversed", "broadcast", "column of the transpose"],
)
def test_arrays_of_any_layout_are_answers(function: Callable[..., Any]) -> None:
    values, _, _, info = from_callable(function, dim=3, batched=True).step(batch())
    assert values.tolist() == np.asarray(function(batch().points().numpy())).tolist()
    assert info["costs"] == {"forward_equivalents": 4.0}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"must return one number for one point, got None \(NoneType\)"),
        ("3", r"got '3' \(str\)"),
        ([1.0], r"got \[1.0\] \(list\)"),
        (1j, r"got 1j \(complex\)"),
        (np.zeros(2), r"got an array of shape \(2,\).*pass batched=True"),
        (torch.zeros(2), r"got a tensor of shape \(2,\).*pass batched=True"),
        (np.zeros(0), r"got an array of shape \(0,\)"),
        (np.array([1j]), r"got 1j \(complex\)"),
        (np.array(["a"]), r"got 'a' \(str\)"),
        ({}, r"got {} \(dict\)"),
    ],
)
def test_a_scalar_function_that_returns_no_number(answer: Any, message: str) -> None:
    with pytest.raises(InvalidValues, match=message):
        from_callable(lambda x: answer, dim=3).step(batch())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (1.0, r"is batched and must return 4 losses as an array or tensor, got 1.0 \(float\); .* needs batched=False"),
        ([1.0] * 4, r"got \[1.0, 1.0, 1.0, 1.0\] \(list\)"),
        (np.float64(1), "must return 4 losses"),
        (np.zeros(3), r"one loss a query, shape \(4,\), got a tensor of shape \(3,\)"),
        (np.zeros((4, 1)), r"shape \(4,\), got a tensor of shape \(4, 1\)"),
        (np.zeros(4, dtype=np.int64), r"floating-point losses, got an array .* int64; use values.astype\(float\)"),
        (np.array([None] * 4), "dtype object"),
        (np.zeros(4, dtype=complex), "dtype complex128"),
        (torch.zeros(4, dtype=torch.int64), r"torch.int64; use values.double\(\)"),
        (torch.zeros(5), r"shape \(4,\), got a tensor of shape \(5,\)"),
    ],
)
def test_a_batched_function_that_returns_no_losses(answer: Any, message: str) -> None:
    with pytest.raises(InvalidValues, match=message):
        from_callable(lambda x: answer, dim=3, batched=True).step(batch())


# Mutation -------------------------------------------------------------------------------------------------------------


def _assign(x: Any) -> None:
    x[..., 0] = 5


def _add(x: Any) -> None:
    x += 1


def _sort(x: np.ndarray) -> None:
    x.sort()


def _fill(x: np.ndarray) -> None:
    x.fill(0)


def _out(x: np.ndarray) -> None:
    np.exp(x, out=x)


@pytest.mark.parametrize("write", [_assign, _add, _sort, _fill, _out])
@pytest.mark.parametrize("settings", [{}, {"batched": True}, {"workers": 2}], ids=["scalar", "batched", "threads"])
def test_numpy_functions_get_read_only_arrays(write: Callable[[Any], None], settings: dict[str, Any]) -> None:
    def sloppy(x: np.ndarray) -> Any:
        write(x)
        return x.sum(axis=-1)

    message = r"sloppy wrote into its input \(.*read-only.*\); work on x.copy\(\)"
    with from_callable(sloppy, dim=3, **settings) as objective, pytest.raises(InputMutated, match=message):
        objective.step(batch())


@pytest.mark.parametrize("write", [_assign, _add])
@pytest.mark.parametrize("settings", [{}, {"batched": True}, {"workers": 2}], ids=["scalar", "batched", "threads"])
def test_torch_functions_that_write_are_told(write: Callable[[Any], None], settings: dict[str, Any]) -> None:
    def sloppy(x: Tensor) -> Tensor:
        write(x)
        return x.sum(dim=-1)

    with from_callable(sloppy, dim=3, library="torch", **settings) as objective, pytest.raises(InputMutated):
        objective.step(batch())


def test_a_value_error_of_the_functions_own_is_a_failure() -> None:
    def fussy(x: np.ndarray) -> float:
        raise ValueError("matrix is singular")

    info = from_callable(fussy, dim=3).step(batch(1))[3]
    assert info["errors"] == {0: "ValueError: matrix is singular"}


# Settings -------------------------------------------------------------------------------------------------------------


def test_the_start_is_the_given_one_and_fresh_each_time() -> None:
    given = np.array([1.0, 2.0, 3.0])[::-1]
    objective = from_callable(np.sum, dim=3, x0=given)
    x0, _ = objective.reset()
    assert x0.tolist() == [3.0, 2.0, 1.0]
    x0.zero_()
    given[:] = 0
    assert objective.reset()[0].tolist() == [3.0, 2.0, 1.0]
    assert from_callable(np.sum, dim=2, low=0, high=[2, 4]).reset()[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"dim": 0}, InvalidSpace, r"dim must be a positive integer, got 0"),
        ({"dim": 2.0}, InvalidSpace, r"got 2.0 \(float\)"),
        ({"low": 1, "high": 0}, InvalidSpace, "got low=1 and high=0 in coordinate 0"),
        ({"low": [0, 5, 0], "high": 5}, InvalidSpace, "got low=5 and high=5 in coordinate 1"),
        ({"dtype": "float16"}, InvalidSpace, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"x0": []}, InvalidStart, r"got a tensor of shape \(0,\)"),
        ({"x0": [np.nan] * 3}, InvalidStart, "got nan in coordinate 0"),
        ({"x0": [9.0] * 3, "high": 1}, InvalidStart, "got 9 in coordinate 0"),
        ({"workers": 0}, InvalidSetting, "workers must be an integer of at least 1, got 0"),
        ({"workers": 2, "batched": True}, InvalidSetting, "workers=2 is for scalar functions"),
        ({"library": "nupmy"}, InvalidSetting, "got 'nupmy' .* Did you mean 'numpy'"),
        ({"function": 3}, InvalidSetting, r"function must be callable, got 3 \(int\)"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_callable(**{"function": np.sum, "dim": 3, **settings})


def test_minimising_one() -> None:
    objective = from_callable(lambda x: float(((x - 1) ** 2).sum()), dim=4, low=-3, high=3)
    solver = zotoolkit.make_solver("ZO/SGD-CGE-v0", lr=0.1, difference="central")
    assert zotoolkit.minimize(objective, solver, budget=800, progress=False).value < 1e-4
