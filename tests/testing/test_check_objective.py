"""check_objective is content with good objectives and tells each broken promise in a sentence."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zotoolkit
from zotoolkit import BlackBoxObjective, check_objective, from_callable
from zotoolkit.errors import ContractViolation, ContractWarning, InvalidSetting
from zotoolkit.wrappers import BudgetLimit, Noise

_spec = importlib.util.spec_from_file_location("broken_objectives", Path(__file__).with_name("broken_objectives.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
BROKEN, Good = _module.BROKEN, _module.Good

GOOD: dict[str, Any] = {
    "float64": lambda: Good(),
    "float32": lambda: Good(dtype="float32"),
    "one coordinate": lambda: Good(dim=1),
    "NumPy function": lambda: from_callable(lambda x: float((x**2).sum()), dim=3),
    "batched NumPy function": lambda: from_callable(lambda x: (x**2).sum(axis=1), dim=3, batched=True),
    "torch function": lambda: from_callable(lambda x: (x**2).sum(), dim=3, library="torch"),
    "threads": lambda: from_callable(lambda x: float((x**2).sum()), dim=3, workers=2),
    "narrow box": lambda: from_callable(np.sum, dim=3, low=1.0, high=1.0 + 1e-4),
    "half open box": lambda: from_callable(np.sum, dim=2, low=[0.0, -np.inf], high=[np.inf, 1.0], x0=[0.0, 1.0]),
    "noise": lambda: Noise(Good(), std=0.1),
    "generous budget": lambda: BudgetLimit(Good(), 1000),
    "fails in places": lambda: from_callable(_fragile, dim=2, low=-1, high=1),
}


def _fragile(x: np.ndarray) -> float:
    if x[0] > 0.5:
        raise RuntimeError("here I fail")
    return float(x.sum())


@pytest.mark.parametrize("name", GOOD)
def test_good_objectives_pass_without_a_warning(name: str) -> None:
    with GOOD[name]() as objective:
        check_objective(objective)
        check_objective(objective, queries=9, radius=0.3)


@pytest.mark.parametrize(("words", "cls"), BROKEN, ids=[cls.__name__ for _, cls in BROKEN])
def test_each_broken_promise_is_told(words: str, cls: type[BlackBoxObjective]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ContractWarning)
        with pytest.raises(ContractViolation, match=re.escape(words)) as caught:
            check_objective(cls())
    assert str(caught.value).endswith(".")


def test_what_is_no_objective() -> None:
    with pytest.raises(ContractViolation, match="from_callable makes one of a function, got <function"):
        check_objective(lambda x: 0.0)


def test_it_spends_few_queries_and_leaves_the_objective_as_reset() -> None:
    objective = Good()
    asked: list[int] = []
    evaluate = objective.evaluate

    def counted(x: Tensor, context: int) -> Tensor:
        asked.append(len(x))
        return evaluate(x, context)

    objective.evaluate = counted
    objective.reset(seed=41)
    check_objective(objective, queries=4)
    assert sum(asked) <= 40 * 4
    assert objective.seed == 41
    assert (objective.queries, objective.costs_spent) == (0, {})
    assert objective._chunk_limit is None

    plain = from_callable(lambda x: asked.append(1) or float(x.sum()), dim=3)
    asked.clear()
    check_objective(plain, queries=4)
    assert len(asked) <= 13 * 4


def test_a_budget_that_is_too_small_is_told() -> None:
    with pytest.raises(ContractViolation, match="ran out of its query budget; check the objective without a budget"):
        check_objective(BudgetLimit(Good(), 3))


def test_a_tolerance_of_ones_own() -> None:
    class Rough(Good):
        def evaluate_coordinates(self, batch: zotoolkit.CoordinateBatch) -> Tensor | None:
            losses = super().evaluate_coordinates(batch)
            return None if losses is None else losses * (1 + 1e-6)

    with pytest.raises(ContractViolation, match="differ more than"):
        check_objective(Rough())
    check_objective(Rough(), tolerance=1e-5)


@pytest.mark.parametrize("settings", [{"queries": 1}, {"radius": 0.0}, {"tolerance": -1.0}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=f"{next(iter(settings))} must be"):
        check_objective(Good(), **settings)


# What is allowed but seldom meant -------------------------------------------------------------------------------------


class NoTruth(Good):
    def noise_free(self, x: Tensor) -> Tensor | None:
        return None


class SeedsGlobally(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        torch.manual_seed(context)
        return super().evaluate(x, context)


class Fewer(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(x, context).float()

    def evaluate_coordinates(self, batch: zotoolkit.CoordinateBatch) -> Tensor | None:
        return None


class Flaky(Good):
    calls = 0

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        self.calls += 1
        if self.calls % 4 == 0:
            raise zotoolkit.PartialFailure(super().evaluate(x, context), {0: "lost"})
        return super().evaluate(x, context)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_callable(lambda x: 1.0, dim=2), "the loss is 1 at each of 4 points"),
        (lambda: from_callable(lambda x: float("nan") if not x.any() else x.sum(), dim=2), "at the start point is nan"),
        (NoTruth, "the loss depends on the context but noise_free returns None"),
        (SeedsGlobally, "drew from, or seeded, a global random generator"),
        (Fewer, "points are float64 but losses torch.float32"),
        (Flaky, "a query failed once and was answered another time"),
    ],
)
def test_warnings(make: Any, message: str) -> None:
    with pytest.warns(ContractWarning, match=message):
        check_objective(make())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ContractWarning)
        check_objective(make())
