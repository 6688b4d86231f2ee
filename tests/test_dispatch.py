"""The dispatcher: fast paths, failures one by one, memory that runs out, answers of the wrong form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import zotoolkit
from zotoolkit import BlackBoxObjective, CoordinateBatch, DenseBatch, PartialFailure, SeededBatch, Status
from zotoolkit.errors import InputMutated, InvalidValues, ObjectiveFailed

F64 = torch.float64
Rule = Callable[[Tensor, int], Any]


class Ruled(BlackBoxObjective):
    """Answers by a function; keeps the first coordinates of every call's rows."""

    def __init__(self, rule: Rule, dtype: str = "float64") -> None:
        super().__init__(zotoolkit.make_space(2, dtype=dtype))
        self.rule = rule
        self.calls: list[list[float]] = []

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        self.calls.append(x[:, 0].tolist())
        return self.rule(x, context)


def first(x: Tensor, context: int = 0) -> Tensor:
    return x[:, 0].clone()


def numbered(count: int, dtype: torch.dtype = F64) -> DenseBatch:
    """Query i asks at (i, 0)."""
    points = torch.zeros(count, 2, dtype=dtype)
    points[:, 0] = torch.arange(count)
    return DenseBatch.at(points)


def failing(bad: set[int], error: type[Exception] = RuntimeError) -> Rule:
    def rule(x: Tensor, context: int) -> Tensor:
        if hit := bad & {int(row) for row in x[:, 0]}:
            raise error(f"row {min(hit)}")
        return first(x)

    return rule


# Failures -------------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 40), data=st.data(), limit=st.integers(1, 50))
def test_rows_that_raise_fail_and_no_other(count: int, data: st.DataObject, limit: int) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1)))
    objective = Ruled(failing(bad))
    objective.limit_chunk(limit)
    values, _, _, info = objective.step(numbered(count))
    expected = [Status.FAILED if i in bad else Status.OK for i in range(count)]
    assert info["status"].tolist() == expected
    good = [i for i in range(count) if i not in bad]
    assert values[good].tolist() == good
    assert bool(values[sorted(bad)].isnan().all())
    assert info["errors"] == {i: f"RuntimeError: row {i}" for i in bad}
    assert info["queries"] == count
    # Every call is paid for, and so is every row that was asked twice.
    assert info["costs"]["forward_equivalents"] == sum(map(len, objective.calls))


@pytest.mark.parametrize("row", [0, 5, 63])
def test_one_row_that_raises_costs_less_than_twice_the_batch(row: int) -> None:
    """Halving asks again for 64 + 32 + ... + 2 rows besides the first call's 64: 126 more, for one query FAILED."""
    objective = Ruled(failing({row}))
    _, _, _, info = objective.step(numbered(64))
    assert info["queries"] == 64
    assert sum(map(len, objective.calls)) == 64 + 64 + 32 + 16 + 8 + 4 + 2
    assert len(objective.calls) == 1 + 2 * 6


def test_partial_failure_asks_nothing_again() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise PartialFailure(first(x), {1: "mesh", 3: "mesh too"})

    objective = Ruled(rule)
    values, _, _, info = objective.step(numbered(5))
    assert len(objective.calls) == 1
    assert values[[0, 2, 4]].tolist() == [0.0, 2.0, 4.0]
    assert bool(values[[1, 3]].isnan().all())
    assert info["errors"] == {1: "mesh", 3: "mesh too"}
    assert info["status"].tolist() == [0, 1, 0, 1, 0]


def test_partial_failures_of_several_chunks_are_counted_from_the_batchs_start() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise PartialFailure(first(x), {0: str(int(x[0, 0]))})

    objective = Ruled(rule)
    objective.limit_chunk(2)
    _, _, _, info = objective.step(numbered(5))
    assert info["errors"] == {0: "0", 2: "2", 4: "4"}


def test_partial_failure_without_failures_is_an_answer() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise PartialFailure(first(x), {})

    assert Ruled(rule).step(numbered(3))[0].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("row", [-1, 3, "0"])
def test_partial_failure_of_a_row_that_there_is_not(row: Any) -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise PartialFailure(first(x), {row: "?"})

    with pytest.raises(InvalidValues, match=rf"names row {row!r} of 3 rows"):
        Ruled(rule).step(numbered(3))


def test_partial_failure_with_too_few_values() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise PartialFailure(first(x)[:2], {0: "?"})

    with pytest.raises(InvalidValues, match=r"PartialFailure.values must return one loss a query, shape \(3,\)"):
        Ruled(rule).step(numbered(3))


def test_values_that_are_not_finite_are_kept_and_named() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        return torch.tensor([1.0, float("nan"), float("inf"), float("-inf")], dtype=F64)

    values, _, _, info = Ruled(rule).step(numbered(4))
    assert info["status"].tolist() == [Status.OK] + [Status.NON_FINITE] * 3
    assert str(values.tolist()) == "[1.0, nan, inf, -inf]"
    assert info["errors"] == {}


def test_an_interrupt_is_let_through() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ruled(rule).step(numbered(4))


def test_errors_that_zotoolkit_raises_on_purpose_are_let_through() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise ObjectiveFailed("the simulator is gone")

    with pytest.raises(ObjectiveFailed, match="the simulator is gone"):
        Ruled(rule).step(numbered(4))


# Memory ---------------------------------------------------------------------------------------------------------------

OUT_OF_MEMORY = {
    "torch": torch.OutOfMemoryError("CUDA out of memory."),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    "numpy": MemoryError("Unable to allocate 8.00 GiB"),
}


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_chunk_that_does_not_fit_is_halved_for_good(error: str) -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        if len(x) > 5:
            raise OUT_OF_MEMORY[error]
        return first(x)

    objective = Ruled(rule)
    values, _, _, info = objective.step(numbered(23))
    assert values.tolist() == list(range(23))
    assert info["status"].tolist() == [Status.OK] * 23
    assert list(map(len, objective.calls)) == [23, 11, 5, 5, 5, 5, 3]
    # What did not fit computed nothing that counts.
    assert info["costs"] == {"forward_equivalents": 23.0}
    objective.calls.clear()
    objective.step(numbered(23))
    assert max(map(len, objective.calls)) == 5


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_one_query_that_does_not_fit_is_told_as_it_is(error: str) -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        raise OUT_OF_MEMORY[error]

    with pytest.raises(type(OUT_OF_MEMORY[error])):
        Ruled(rule).step(numbered(4))


@given(count=st.integers(1, 40), bad=st.sets(st.integers(0, 39)), fits=st.integers(1, 40), limit=st.integers(1, 40))
def test_failures_and_scarce_memory_together_keep_every_answer_in_its_place(
    count: int, bad: set[int], fits: int, limit: int
) -> None:
    fail = failing(bad)

    def rule(x: Tensor, context: int) -> Tensor:
        if int(x[0, 0]) % 3 == 0 and len(x) > fits:  # memory runs out in the midst of a chunk that is being halved
            raise torch.OutOfMemoryError("out of memory")
        return fail(x, context)

    objective = Ruled(rule)
    objective.limit_chunk(limit)
    values, _, _, info = objective.step(numbered(count))
    assert len(values) == count
    for i in range(count):
        assert (info["status"][i], values[i].item()) == (Status.OK, i) or (i in bad and i in info["errors"])


# Fast paths -----------------------------------------------------------------------------------------------------------


class Fast(Ruled):
    """Answers coordinate and seeded batches without their points."""

    def __init__(self) -> None:
        super().__init__(lambda x, context: x.sum(dim=1))
        self.fast: list[str] = []

    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        self.fast.append("coordinates")
        return batch.base.sum() + batch.scale

    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        self.fast.append("seeded")
        return None if batch.law == "normal" else batch.points().sum(dim=1)


def coordinate_batch() -> CoordinateBatch:
    return CoordinateBatch(
        base=torch.ones(2, dtype=F64), scale=torch.tensor([0.0, 2.0], dtype=F64), index=torch.tensor([0, 1])
    )


def seeded_batch(law: str) -> SeededBatch:
    return SeededBatch(
        base=torch.ones(2, dtype=F64), scale=torch.tensor([0.0, 2.0], dtype=F64), seed=torch.arange(2), law=law
    )


def test_fast_paths_are_taken_and_none_falls_back() -> None:
    objective = Fast()
    assert objective.step(coordinate_batch())[0].tolist() == [2.0, 4.0]
    objective.step(seeded_batch("rademacher"))
    assert objective.calls == []
    objective.step(seeded_batch("normal"))
    assert len(objective.calls) == 1
    objective.step(numbered(2))
    assert len(objective.calls) == 2
    assert objective.fast == ["coordinates", "seeded", "seeded"]


def test_a_fast_path_is_chunked_too() -> None:
    objective = Fast()
    objective.limit_chunk(1)
    assert objective.step(coordinate_batch())[0].tolist() == [2.0, 4.0]
    assert objective.fast == ["coordinates"] * 2


def test_nothing_records_gradients() -> None:
    seen: list[bool] = []

    class Watching(Fast):
        def evaluate(self, x: Tensor, context: int) -> Tensor:
            seen.append(torch.is_grad_enabled())
            return x.sum(dim=1)

        def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
            seen.append(torch.is_grad_enabled())
            return None

    Watching().step(coordinate_batch())
    assert seen == [False, False]


# Broken promises ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (1.5, r"must return a \(3,\) tensor of losses, one a query, got 1.5 \(float\); torch.as_tensor"),
        ([1.0, 2.0, 3.0], r"got \[1.0, 2.0, 3.0\] \(list\)"),
        (None, r"got None"),
        (torch.zeros(3).numpy(), r"got an array of shape \(3,\)"),
        (torch.zeros(2), r"one loss a query, shape \(3,\), got a tensor of shape \(2,\)"),
        (torch.zeros(3, 1), r"got a tensor of shape \(3, 1\)"),
        (torch.tensor(0.0), r"got a tensor of shape \(\)"),
        (torch.zeros(3, dtype=torch.int64), r"floating-point losses, got .* torch.int64; use values.double\(\)"),
        (torch.zeros(3, dtype=torch.bool), "torch.bool"),
        (torch.zeros(3, dtype=torch.complex64), "torch.complex64"),
    ],
)
def test_answers_of_the_wrong_form(answer: Any, message: str) -> None:
    with pytest.raises(InvalidValues, match=rf"Ruled.evaluate.*{message}"):
        Ruled(lambda x, context: answer).step(numbered(3))


def test_the_message_names_the_path() -> None:
    class Short(Fast):
        def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
            return batch.scale[:1]

    with pytest.raises(InvalidValues, match=r"Short.evaluate_coordinates must return one loss a query"):
        Short().step(coordinate_batch())


def test_points_that_are_written_into() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        return x.mul_(2)[:, 0]

    with pytest.raises(InputMutated, match=r"Ruled.evaluate wrote into the points it was given; work on a clone"):
        Ruled(rule).step(numbered(3))


def test_points_that_are_written_into_before_something_is_raised() -> None:
    def rule(x: Tensor, context: int) -> Tensor:
        x[:, 0] = 1
        raise RuntimeError("later")

    with pytest.raises(InputMutated):
        Ruled(rule).step(numbered(3))


@pytest.mark.parametrize("kind", ["coordinates", "seeded"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_base_that_is_written_into(kind: str, fails: bool) -> None:
    class Writing(Fast):
        def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
            return self.write(batch.base)

        def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
            return self.write(batch.base)

        def write(self, base: Tensor) -> None:
            base += 1
            if fails:
                raise RuntimeError("and more")

    batch = coordinate_batch() if kind == "coordinates" else seeded_batch("rademacher")
    with pytest.raises(InputMutated, match=f"Writing.evaluate_{kind} wrote into batch.base"):
        Writing().step(batch)


def test_an_objective_may_answer_in_the_same_memory_again() -> None:
    memory = torch.zeros(2, dtype=F64)

    def rule(x: Tensor, context: int) -> Tensor:
        return torch.sum(x, dim=1, out=memory)

    objective = Ruled(rule)
    objective.limit_chunk(2)
    values = objective.step(numbered(6))[0]
    assert values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    objective.step(numbered(2))
    assert values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_values_may_have_more_digits_than_the_points() -> None:
    objective = Ruled(lambda x, context: x[:, 0].double() + 1e-12, dtype="float32")
    values = objective.step(numbered(3, torch.float32))[0]
    assert values.dtype == F64
    assert values[0].item() == 1e-12


def test_losses_that_carry_a_graph_are_cut_from_it() -> None:
    weight = torch.ones((), dtype=F64, requires_grad=True)

    def rule(x: Tensor, context: int) -> Tensor:
        with torch.enable_grad():
            return x[:, 0] * weight

    assert not Ruled(rule).step(numbered(3))[0].requires_grad


def test_a_chunk_size_below_one_counts_as_one() -> None:
    class Tiny(Ruled):
        def queries_per_chunk(self, batch: zotoolkit.QueryBatch) -> int:
            return 0

    objective = Tiny(first)
    assert objective.step(numbered(3))[0].tolist() == [0.0, 1.0, 2.0]
    assert list(map(len, objective.calls)) == [1, 1, 1]
