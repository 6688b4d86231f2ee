"""What every wrapper promises, alone and composed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zotoolkit
from zotoolkit import (
    BlackBoxObjective,
    BudgetLimit,
    Cache,
    DenseBatch,
    Noise,
    Record,
    RescaleSpace,
    Retry,
    Status,
    TargetReached,
    Wrapper,
)
from zotoolkit.checkpoint import load_state, save_state
from zotoolkit.errors import CheckpointMismatch, InvalidBatch, InvalidSetting

Wrap = Callable[[BlackBoxObjective, Path], Wrapper]

WRAPPERS: dict[str, Wrap] = {
    "plain": lambda f, path: Wrapper(f),
    "budget": lambda f, path: BudgetLimit(f, 10_000),
    "target": lambda f, path: TargetReached(f, -1e9),
    "noise": lambda f, path: Noise(f, 0.1, relative=0.05),
    "shared noise": lambda f, path: Noise(f, 0.1, shared=True),
    "retry": lambda f, path: Retry(f, 2),
    "record csv": lambda f, path: Record(f, path / "record.csv", points=True),
    "record parquet": lambda f, path: Record(f, path / "record.parquet", points=True),
    "cache": lambda f, path: Cache(f, 1000),
    "rescale": lambda f, path: RescaleSpace(f),
    "all": lambda f, path: Record(
        TargetReached(Cache(BudgetLimit(Noise(Retry(RescaleSpace(f, 0, 1), 2), 0.1), 10_000)), -1e9),
        path / "record.csv",
    ),
    "all, inside out": lambda f, path: RescaleSpace(
        Retry(Noise(BudgetLimit(Cache(TargetReached(Record(f, path / "record.csv"), -1e9)), 10_000), 0.1), 2)
    ),
}
NOISY = {"noise", "shared noise", "all", "all, inside out"}
KINDS = ("dense", "coordinate", "seeded")


@pytest.fixture(params=WRAPPERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_has_the_form_of_a_step(
    name: str, kind: str, dtype: str, spy: Any, batches: Any, tmp_path: Path
) -> None:
    objective = WRAPPERS[name](spy(dtype=dtype), tmp_path)
    x0, info = objective.reset(seed=5)
    assert x0.shape == (6,)
    assert x0.dtype == objective.dtype
    assert info == {}
    values, terminated, truncated, info = objective.step(batches[kind](dtype=objective.dtype))
    assert values.shape == (5,)
    assert values.is_floating_point()
    assert (terminated, truncated) == (False, False)
    assert set(info) == {"status", "errors", "queries", "costs"}
    assert info["status"].dtype == torch.uint8
    assert info["status"].tolist() == [Status.OK] * 5
    assert info["errors"] == {}
    assert info["queries"] == 5
    assert info["costs"] == {"forward_equivalents": 5.0}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_arrive_unmaterialised(name: str, kind: str, spy: Any, batches: Any, tmp_path: Path) -> None:
    inner = spy()
    objective = WRAPPERS[name](inner, tmp_path)
    objective.reset(seed=5)
    objective.step(batches[kind]())
    assert inner.seen == [(kind, 5)]


@pytest.mark.parametrize("kind", KINDS)
def test_structure_changes_no_value(name: str, kind: str, spy: Any, batches: Any, tmp_path: Path) -> None:
    objective = WRAPPERS[name](spy(), tmp_path)
    objective.reset(seed=5)
    batch = batches[kind]()
    values = objective.step(batch)[0]
    plain = objective.step(DenseBatch.at(batch.points(), batch.context))[0]
    # What stands outside a RescaleSpace names points that have been rounded once more, so noise inside it is another.
    if name != "all, inside out":
        torch.testing.assert_close(values, plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_splitting_changes_no_value(name: str, kind: str, size: int, spy: Any, batches: Any, tmp_path: Path) -> None:
    objective = WRAPPERS[name](spy(), tmp_path)
    objective.reset(seed=5)
    batch = batches[kind]()
    whole = objective.step(batch)[0]
    objective.reset(seed=5)
    parts = torch.cat([objective.step(part)[0] for part in batch.split(size)])
    assert torch.equal(whole, parts)


def test_queries_are_counted_and_reset(name: str, spy: Any, batches: Any, tmp_path: Path) -> None:
    inner = spy()
    objective = WRAPPERS[name](inner, tmp_path)
    objective.reset(seed=5)
    objective.step(batches["dense"](5))
    objective.step(batches["coordinate"](3))
    assert objective.queries == inner.queries == inner.asked == 8
    assert objective.costs_spent == inner.costs_spent == {"forward_equivalents": 8.0}
    objective.reset()
    assert objective.queries == inner.queries == 0
    assert objective.costs_spent == inner.costs_spent == {}
    assert objective.seed == inner.seed == 5


def test_the_same_seed_gives_the_same_answers(name: str, spy: Any, batches: Any, tmp_path: Path) -> None:
    objective = WRAPPERS[name](spy(), tmp_path)
    answers = []
    for seed in (5, 5, 6):
        objective.reset(seed=seed)
        answers.append(objective.step(batches["seeded"]())[0])
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2]) == (name not in NOISY)


def test_everything_else_is_forwarded(name: str, spy: Any, tmp_path: Path) -> None:
    inner = spy()
    with WRAPPERS[name](inner, tmp_path) as objective:
        x0, _ = objective.reset(seed=5)
        assert objective.unwrapped is inner
        assert objective.metadata == {"name": "spy"}
        assert objective.spec is inner.spec
        torch.testing.assert_close(objective.start(), x0)
        there = inner.start() + 0.5
        outer, layer = there, objective
        layers = []
        while isinstance(layer, Wrapper):
            layers.append(layer)
            layer = layer.objective
        for layer in reversed(layers):
            outer = layer.outward(outer) if isinstance(layer, RescaleSpace) else outer
        assert objective.metrics(outer) == pytest.approx(inner.metrics(there))
        truth = objective.noise_free(outer[None])
        assert truth is not None
        torch.testing.assert_close(truth, inner.noise_free(there[None]))
        torch.testing.assert_close(objective.reset(options={"x0": outer})[0], outer)
        objective.limit_chunk(2)
        assert objective.queries_per_chunk(DenseBatch.at(outer[None])) == 2
        assert not inner.closed
        assert repr(objective).startswith(f"<{type(objective).__name__}<")
    assert inner.closed


def test_one_bad_query_costs_no_other_its_answer(name: str, spy: Any, batches: Any, tmp_path: Path) -> None:
    inner = spy(fails=lambda attempt: attempt in (2, 5, 6), blank=lambda attempt: attempt == 3)
    objective = WRAPPERS[name](inner, tmp_path)
    objective.reset(seed=5)
    values, _, _, info = objective.step(batches["coordinate"]())
    retried = name in ("retry", "all", "all, inside out")
    assert info["status"].tolist() == [0, 0, Status.FAILED, Status.NON_FINITE, 0]
    assert info["errors"] == {2: f"attempt {5 if retried else 2}\nfailed"}
    assert info["queries"] == inner.asked == (6 if retried else 5)
    assert values.isnan().tolist() == [False, False, True, True, False]


def test_an_empty_batch(name: str, spy: Any, batches: Any, tmp_path: Path) -> None:
    objective = WRAPPERS[name](spy(), tmp_path)
    objective.reset(seed=5)
    for kind in KINDS:
        values, _, _, info = objective.step(batches[kind]()[:0])
        assert len(values) == len(info["status"]) == info["queries"] == 0
        assert info["costs"] == {"forward_equivalents": 0.0}


def test_a_batch_that_does_not_fit(name: str, spy: Any, batches: Any, tmp_path: Path) -> None:
    objective = WRAPPERS[name](spy(), tmp_path)
    objective.reset(seed=5)
    with pytest.raises(InvalidBatch, match="d=6"):
        objective.step(batches["dense"](dim=7))


@pytest.mark.parametrize("budget", [1, 4, 5, 7, 10])
@pytest.mark.parametrize("outside", [True, False])
def test_a_budget_holds_on_either_side(
    name: str, budget: int, outside: bool, spy: Any, batches: Any, tmp_path: Path
) -> None:
    inner = spy(fails=lambda attempt: attempt % 3 == 0)
    if outside:
        objective = limit = BudgetLimit(WRAPPERS[name](inner, tmp_path), budget)
    else:
        limit = BudgetLimit(inner, budget)
        objective = WRAPPERS[name](limit, tmp_path)
    objective.reset(seed=5)
    spent = 0
    for context in range(4):
        values, _, truncated, info = objective.step(batches["seeded"](4, context=context))
        spent += info["queries"]
        assert truncated == (spent == budget)
        skipped = info["status"] == Status.SKIPPED
        assert bool(values[skipped].isnan().all())
        assert limit.remaining == budget - spent
    assert inner.asked == inner.queries == spent == budget
    assert bool(skipped.all())
    objective.reset()
    assert limit.remaining == budget


ORDERS = list(itertools.permutations(("budget", "retry", "cache", "noise", "rescale"), 5))


@given(order=st.sampled_from(ORDERS), budget=st.integers(1, 25), sizes=st.lists(st.integers(0, 9), max_size=6))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_wrappers_overspends(
    order: tuple[str, ...], budget: int, sizes: list[int], spy: Any, batches: Any
) -> None:
    inner = spy(fails=lambda attempt: attempt % 2 == 0)
    objective: BlackBoxObjective = inner
    wrap: dict[str, Callable[[BlackBoxObjective], Wrapper]] = {
        "budget": lambda f: BudgetLimit(f, budget),
        "retry": lambda f: Retry(f, 4, non_finite=True),
        "cache": lambda f: Cache(f, 7),
        "noise": lambda f: Noise(f, 0.1),
        "rescale": lambda f: RescaleSpace(f),
    }
    for wrapper in order:
        objective = wrap[wrapper](objective)
    objective.reset(seed=1)
    spent = 0
    for i, size in enumerate(sizes):
        batch = batches[KINDS[i % 3]](size, context=i // 2)
        _, _, truncated, info = objective.step(batch)
        spent += info["queries"]
        assert inner.asked == spent <= budget
        assert truncated == (spent == budget)


def test_a_state_that_was_saved_goes_on_as_if_nothing_had_been(
    name: str, spy: Any, batches: Any, tmp_path: Path
) -> None:
    first = WRAPPERS[name](spy(), tmp_path / "a")
    first.reset(seed=5)
    first.step(batches["coordinate"](5))
    first.step(batches["seeded"](5))
    save_state(tmp_path / "checkpoint", first.state_dict(), {})
    second = WRAPPERS[name](spy(), tmp_path / "b")
    second.reset(seed=5)
    second.load_state_dict(load_state(tmp_path / "checkpoint")[0])
    assert second.queries == second.unwrapped.queries == first.queries == 10
    for kind in KINDS:
        values, *_, info = first.step(batches[kind](6))
        again, *_, other = second.step(batches[kind](6))
        assert torch.equal(values, again)
        assert other["queries"] == info["queries"]
    resaved = second.state_dict()
    for key in set(resaved) - {"objective", "keys", "values"}:
        assert resaved[key] == first.state_dict()[key]


def test_a_state_of_other_wrappers_is_refused(name: str, spy: Any, tmp_path: Path) -> None:
    class Other(Wrapper):
        pass

    objective = WRAPPERS[name](spy(), tmp_path)
    with pytest.raises(CheckpointMismatch, match=f"has Other where this run has {type(objective).__name__}"):
        objective.load_state_dict(Other(spy()).state_dict())
    with pytest.raises(CheckpointMismatch, match="the bare objective"):
        objective.load_state_dict(spy().state_dict())


def test_minimize_runs(name: str, spy: Any, tmp_path: Path) -> None:
    inner = spy()
    objective = WRAPPERS[name](inner, tmp_path)
    solver = zotoolkit.make_solver("ZO/SGD-CGE-v0", lr=0.05, mu=0.01)
    result = zotoolkit.minimize(objective, solver, budget=350, seed=1, progress=False)
    assert result.queries == inner.asked <= 350
    assert math.isfinite(result.value)
    if name not in NOISY:  # with noise ten times mu, differences tell nothing
        assert result.value < 0.2
    assert {path for path, _ in inner.seen} <= {"coordinate", "dense"}


@pytest.mark.parametrize("wrapper", [BudgetLimit, TargetReached, Noise, Retry, Record, Cache, RescaleSpace])
def test_a_wrapper_wraps_an_objective(wrapper: Any) -> None:
    settings = {BudgetLimit: (5,), TargetReached: (0.0,), Noise: (0.1,), Record: ("record.csv",)}
    with pytest.raises(InvalidSetting, match=f"{wrapper.__name__} wraps a BlackBoxObjective.*from_callable"):
        wrapper(lambda x: 0.0, *settings.get(wrapper, ()))
