"""BlackBoxObjective: reset, counting, the allowance, and what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

import zotoolkit
from zotoolkit import BlackBoxObjective, CoordinateBatch, DenseBatch, QueryBatch, SeededBatch, Status, Wrapper
from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidSpace, InvalidStart

F64 = torch.float64


class Sphere(BlackBoxObjective):
    """Squared length; keeps how many rows each call of evaluate had."""

    def __init__(self, dim: int = 3, low: float = -np.inf, high: float = np.inf, dtype: str = "float64") -> None:
        super().__init__(zotoolkit.make_space(dim, low, high, dtype))
        self.calls: list[int] = []

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        self.calls.append(len(x))
        return (x**2).sum(dim=1)


def points(count: int, dim: int = 3) -> DenseBatch:
    return DenseBatch.at(torch.arange(count * dim, dtype=F64).reshape(count, dim))


def three_kinds(dim: int = 3) -> list[QueryBatch]:
    base, scale = torch.arange(1.0, dim + 1, dtype=F64), torch.tensor([0.0, 0.5, -2.0], dtype=F64)
    return [
        DenseBatch(base=base, scale=scale, directions=torch.eye(3, dim, dtype=F64)),
        CoordinateBatch(base=base, scale=scale, index=torch.arange(3) % dim),
        SeededBatch(base=base, scale=scale, seed=torch.arange(3), law="normal"),
    ]


# Step -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", range(3))
def test_step_answers_every_kind_of_batch(kind: int) -> None:
    objective, batch = Sphere(), three_kinds()[kind]
    values, terminated, truncated, info = objective.step(batch)
    assert torch.equal(values, (batch.points() ** 2).sum(dim=1))
    assert (terminated, truncated) == (False, False)
    assert info["status"].tolist() == [Status.OK] * 3
    assert info["status"].dtype == torch.uint8
    assert (info["queries"], info["errors"], info["costs"]) == (3, {}, {"forward_equivalents": 3.0})


def test_step_counts_queries_and_costs_until_reset() -> None:
    objective = Sphere()
    for _ in range(2):
        objective.step(points(4))
    assert objective.queries == 8
    assert objective.costs_spent == {"forward_equivalents": 8.0}
    objective.reset()
    assert objective.queries == 0
    assert objective.costs_spent == {}


def test_counters_survive_a_checkpoint() -> None:
    objective, resumed = Sphere(), Sphere()
    objective.step(points(4))
    resumed.load_state_dict(objective.state_dict())
    assert (resumed.queries, resumed.costs_spent) == (4, {"forward_equivalents": 4.0})


def test_an_empty_batch_asks_nothing() -> None:
    objective = Sphere()
    for batch in three_kinds():
        values, _, _, info = objective.step(batch[:0])
        assert values.shape == (0,)
        assert info["queries"] == 0
    assert objective.calls == []


def test_step_cannot_be_overridden_unnoticed() -> None:
    assert getattr(BlackBoxObjective.step, "__final__", False)


@pytest.mark.parametrize("batch", [torch.zeros(2, 3), np.zeros((2, 3)), None])
def test_step_takes_batches_only(batch: Any) -> None:
    with pytest.raises(InvalidBatch, match=r"step takes a QueryBatch, got .*; DenseBatch.at\(points\) makes one"):
        Sphere().step(batch)


def test_a_batch_of_another_dimension_dtype_or_device() -> None:
    with pytest.raises(InvalidBatch, match=r"d=3 and dtype torch.float64, got d=4 and torch.float64"):
        Sphere().step(points(2, dim=4))
    with pytest.raises(InvalidBatch, match=r"got d=3 and torch.float32"):
        Sphere().step(DenseBatch.at(torch.zeros(2, 3)))
    with pytest.raises(InvalidBatch, match=r"objective's device cpu, got meta"):
        Sphere().step(DenseBatch.at(torch.zeros(2, 3, dtype=F64, device="meta")))


def test_step_works_in_inference_mode() -> None:
    with torch.inference_mode():
        values, _, _, info = Sphere().step(points(2))
    assert values.tolist() == [5.0, 50.0]
    assert info["errors"] == {}


# Reset and start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (-1.0, 3.0, 1.0),
        (-np.inf, np.inf, 0.0),
        (2.0, np.inf, 2.0),
        (-np.inf, -2.0, -2.0),
        (-5.0, np.inf, 0.0),
        (-1.7e308, 1.7e308, 0.0),
    ],
)
def test_the_default_start_is_the_middle_of_the_box_or_the_point_nearest_zero(
    low: float, high: float, start: float
) -> None:
    x0, info = Sphere(low=low, high=high).reset()
    assert x0.tolist() == [start] * 3
    assert info == {}


def test_reset_keeps_the_seed_that_it_is_not_given() -> None:
    objective = Sphere()
    assert objective.seed == 0
    objective.reset(seed=2**63 - 1)
    objective.reset()
    assert objective.seed == 2**63 - 1


def test_reset_starts_where_it_is_told() -> None:
    given = torch.tensor([1.0, 2.0, 3.0])
    x0, _ = Sphere().reset(options={"x0": given})
    assert torch.equal(x0, given.double())
    x0, _ = Sphere().reset(options={"x0": [1.0, 2.0, 3.0]})
    assert torch.equal(x0, given.double())


def test_a_start_that_is_given_needs_no_default() -> None:
    class Startless(Sphere):
        def start(self) -> Tensor:
            raise RuntimeError("there is no default")

    assert Startless().reset(options={"x0": torch.zeros(3)})[0].tolist() == [0.0] * 3


@pytest.mark.parametrize(
    ("x0", "message"),
    [
        ([], r"x0 must have shape \(3,\), got a tensor of shape \(0,\)"),
        (torch.zeros(2), r"x0 must have shape \(3,\), got a tensor of shape \(2,\)"),
        (torch.zeros(1, 3), r"got a tensor of shape \(1, 3\)"),
        (0.0, r"got a tensor of shape \(\)"),
        ([1, 2, 3], r"x0 must be floating point, got .* dtype torch.int64; write 1.0"),
        (torch.ones(3, dtype=torch.bool), "floating point, got .* torch.bool"),
        (torch.ones(3, dtype=torch.complex64), "floating point, got .* torch.complex64"),
        ([0.0, float("nan"), 0.0], "x0 must be finite, got nan in coordinate 1"),
        ([0.0, 0.0, float("-inf")], "x0 must be finite, got -inf in coordinate 2"),
        ([0.0, 9.0, 0.0], r"x0 must lie in the space, got 9 in coordinate 1 with bounds \[-5, 5\]"),
        ("abc", r"x0 must be 3 numbers, got 'abc' \(str\)"),
        ([[1.0], [1.0, 2.0]], "x0 must be 3 numbers"),
        (None, r"x0 must be 3 numbers, got None"),
    ],
)
def test_a_start_that_does_not_fit_changes_nothing(x0: Any, message: str) -> None:
    objective = Sphere(low=-5, high=5)
    objective.step(DenseBatch.at(torch.zeros(2, 3, dtype=F64)))
    with pytest.raises(InvalidStart, match=message):
        objective.reset(seed=4, options={"x0": x0})
    assert (objective.seed, objective.queries) == (0, 2)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "0", True])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"seed must be an integer in \[0, 2\*\*63\), got"):
        Sphere().reset(seed=seed)


def test_numpy_seeds_are_fine() -> None:
    objective = Sphere()
    objective.reset(seed=np.int64(5))  # pyright: ignore[reportArgumentType]
    assert objective.seed == 5
    assert type(objective.seed) is int


@pytest.mark.parametrize("options", [{"x": 1}, {"x0": torch.zeros(3), 3: 1}, [("x0", 1)]])
def test_options_that_there_are_not(options: Any) -> None:
    with pytest.raises(InvalidSetting, match="options"):
        Sphere().reset(options=options)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Discrete(3), r"space must be a gymnasium.spaces.Box, got Discrete\(3\)"),
        (Box(-1, 1, (2, 2)), r"shape \(d,\) with d >= 1, got \(2, 2\)"),
        (Box(0, 9, (2,), dtype=np.int64), "dtype float32 or float64, got int64"),
        (Box(0, 9, (2,), dtype=np.float16), "got float16"),
        (None, "got None"),
    ],
)
def test_spaces_that_cannot_be_searched(space: Any, message: str) -> None:
    class Any_(BlackBoxObjective):  # noqa: N801
        def evaluate(self, x: Tensor, context: int) -> Tensor:
            return x[:, 0]

    with pytest.raises(InvalidSpace, match=message):
        Any_(space)


# Allowance ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [0, 1, 3, 5, 6, 100])
def test_an_allowance_answers_the_prefix_and_skips_the_rest(allowed: int) -> None:
    objective = Sphere()
    with objective.allowing(allowed):
        values, _, _, info = objective.step(points(6))
    spent = min(allowed, 6)
    assert info["status"].tolist() == [Status.OK] * spent + [Status.SKIPPED] * (6 - spent)
    assert torch.equal(values[:spent], points(6).points()[:spent].square().sum(dim=1))
    assert bool(values[spent:].isnan().all())
    assert info["queries"] == objective.queries == sum(objective.calls) == spent
    assert info["costs"] == {"forward_equivalents": float(spent)}


def test_an_allowance_is_spent_over_several_steps_and_ends_with_its_context() -> None:
    objective = Sphere()
    with objective.allowing(5):
        spent = [objective.step(points(2))[3]["queries"] for _ in range(4)]
    assert spent == [2, 2, 1, 0]
    assert objective.step(points(2))[3]["queries"] == 2


def test_allowances_nest() -> None:
    objective = Sphere()
    with objective.allowing(5):
        with objective.allowing(2):
            assert objective.step(points(4))[3]["queries"] == 2
        with objective.allowing(100):  # an inner one cannot give more than the outer one has left
            assert objective.step(points(4))[3]["queries"] == 3
        assert objective.step(points(4))[3]["queries"] == 0
    assert objective.step(points(4))[3]["queries"] == 4


def test_an_allowance_ends_with_its_context_when_something_is_raised() -> None:
    objective = Sphere()
    with objective.allowing(5):
        with pytest.raises(KeyError), objective.allowing(4):
            objective.step(points(3))
            raise KeyError
        assert objective.step(points(4))[3]["queries"] == 2


def test_the_limit_sits_below_the_wrappers() -> None:
    objective = Sphere()
    outer = Wrapper(Wrapper(objective))
    with outer.allowing(2):
        _, _, _, info = outer.step(points(3))
    assert info["queries"] == objective.queries == outer.queries == 2
    assert info["status"].tolist() == [Status.OK, Status.OK, Status.SKIPPED]


@pytest.mark.parametrize("queries", [-1, 1.5, None])
def test_an_allowance_is_a_count(queries: Any) -> None:
    with pytest.raises(InvalidSetting, match="queries must be an integer of at least 0, got"), Sphere().allowing(
        queries
    ):
        pass


# The rest -------------------------------------------------------------------------------------------------------------


def test_defaults_of_what_a_subclass_may_leave_out() -> None:
    objective = Sphere()
    assert objective.noise_free(torch.zeros(2, 3)) is None
    assert objective.metrics(torch.zeros(3)) == {}
    assert objective.unwrapped is objective
    assert (objective.dim, objective.dtype) == (3, F64)
    assert repr(objective) == "<Sphere: d=3, float64, cpu>"
    with objective as entered:
        assert entered is objective


def test_a_chunk_holds_at_most_64_mib_of_points() -> None:
    objective = Sphere(dim=1 << 20)
    batch = CoordinateBatch(
        base=torch.zeros(1 << 20, dtype=F64), scale=torch.ones(20, dtype=F64), index=torch.arange(20)
    )
    objective.step(batch)
    assert objective.calls == [8, 8, 4]
    assert 8 * (1 << 20) * 8 == 64 << 20


def test_a_wrapper_forwards_everything() -> None:
    class Known(Sphere):
        def noise_free(self, x: Tensor) -> Tensor:
            return (x**2).sum(dim=1)

        def metrics(self, x: Tensor) -> dict[str, float]:
            return {"norm": float(x.norm())}

        def costs(self, batch: QueryBatch) -> dict[str, float]:
            return {"forward_equivalents": 0.5 * len(batch), "state_steps": 10.0 * len(batch)}

    inner = Known()
    inner.metadata["name"] = "known"
    outer = Wrapper(inner)
    x = torch.ones(1, 3, dtype=F64)
    assert outer.noise_free(x).tolist() == [3.0]  # pyright: ignore[reportOptionalMemberAccess]
    assert outer.metrics(x[0]) == {"norm": pytest.approx(3**0.5)}
    assert outer.metadata["name"] == "known"
    assert outer.unwrapped is inner
    outer.reset(seed=8)
    assert inner.seed == outer.seed == 8
    info = outer.step(points(2))[3]
    assert info["costs"] == inner.costs_spent == outer.costs_spent == {"forward_equivalents": 1.0, "state_steps": 20.0}
    assert torch.equal(outer.start(), inner.start())
    assert repr(outer) == "<Wrapper<Known: d=3, float64, cpu>>"
    with pytest.raises(InvalidSetting, match="Wrapper wraps a BlackBoxObjective, got .*from_callable"):
        Wrapper(lambda x: x)  # pyright: ignore[reportArgumentType]
