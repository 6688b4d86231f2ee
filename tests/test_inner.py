"""Queries at an inner interface: of a small controller in front of a plant that can only be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

import zotoolkit
from zotoolkit import CGE, RGE, BlackBoxObjective, Reason, Status, wrappers
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import BudgetSpent, InputMutated, InvalidBatch, InvalidSetting, InvalidValues, ObjectiveFailed
from zotoolkit.inner import HasInner, InnerAnswer, InnerBatch
from zotoolkit.nn import BlackBoxFunction
from zotoolkit.seeding import torch_generator
from zotoolkit.solvers.inner_gradient import InnerGradientSolver

SAMPLES = 6


def plant(settings: Tensor, demand: Tensor) -> Tensor:
    power = torch.tanh(settings[:, 0]) + 0.5 * settings[:, 1]
    return (power - demand) ** 2 + 0.1 * settings[:, 1] ** 2


class Controller(BlackBoxObjective):
    """A network that sets a plant; `trouble` is called with the number of each inner batch before it is answered."""

    inner_places = ("settings",)

    def __init__(self, trouble: Callable[[int], Any] = lambda number: None) -> None:
        with seeded_randomness(0, torch.device("cpu")):
            self.network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        self.layout = ParameterLayout.of(self.network)
        super().__init__(zotoolkit.make_space(self.layout.dim, dtype="float64"))
        self.trouble, self.answered = trouble, 0

    @override
    def start(self) -> Tensor:
        return self.layout.flatten(self.network)

    def demand(self, context: int) -> Tensor:
        return torch.rand(SAMPLES, 1, generator=torch_generator(self.seed, context), dtype=torch.float64)

    def settings(self, x: Tensor, demand: Tensor) -> Tensor:
        return functional_call(self.network, self.layout.unflatten(x), (demand,))

    def loss(self, x: Tensor, context: int) -> Tensor:
        demand = self.demand(context)
        return plant(self.settings(x, demand), demand[:, 0]).mean()

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return torch.stack([self.loss(point, context) for point in x])

    def inner_queries(self, place: str, differences: Any) -> int:
        return BlackBoxFunction(plant, differences).queries_per_sample(2)

    def inner_mu(self, place: str) -> float:
        return 1e-3

    def evaluate_inner(self, batch: InnerBatch) -> InnerAnswer:
        self.answered += 1
        answer = self.trouble(self.answered)
        if answer is not None:
            return answer
        demand = self.demand(batch.context)
        layer = BlackBoxFunction(plant, batch.differences, seed=batch.seed)
        with torch.enable_grad():
            x = batch.base.clone().requires_grad_()
            loss = layer(self.settings(x, demand), demand[:, 0], context=batch.context).mean()
            (gradient,) = torch.autograd.grad(loss, x)
        return InnerAnswer(float(loss.detach()), gradient, {"samples": float(SAMPLES)})


CENTRAL = CGE(mu=1e-4, difference="central")  # 2 * 2 queries and one for the value


def batch_of(objective: BlackBoxObjective, count: int = 5, context: int = 3, **more: Any) -> InnerBatch:
    base = objective.unwrapped.start()
    settings: dict[str, Any] = {"place": "settings", "differences": CENTRAL, "seed": 1, **more}
    return InnerBatch(base=base, scale=base.new_zeros(count), context=context, **settings)


def solver(iterations: int | None = None, differences: Any = CENTRAL) -> InnerGradientSolver:
    return InnerGradientSolver("settings", differences, lambda p: torch.optim.Adam(p, lr=0.03), iterations=iterations)


def minimized(objective: BlackBoxObjective, mine: zotoolkit.Solver, budget: int, **more: Any) -> zotoolkit.Result:
    return zotoolkit.minimize(objective, mine, budget=budget, progress=False, **more)


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_moves_no_point() -> None:
    batch = batch_of(Controller())
    assert torch.equal(batch.points(), batch.base.repeat(5, 1))
    assert torch.equal(batch.combine(torch.ones(5, dtype=torch.float64)), torch.zeros(batch.dim, dtype=torch.float64))
    with pytest.raises(InvalidBatch, match="weights"):
        batch.combine(torch.ones(4))
    assert isinstance(Controller(), HasInner)
    assert not isinstance(zotoolkit.make("Functions/Sphere-v0", dim=2), HasInner)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale": torch.ones(2)}, "moves no point"),
        ({"place": 3}, "place must be the name"),
        ({"seed": -1}, "seed must be"),
        ({"seed": True}, "seed must be"),
        ({"context": -1}, "context"),
    ],
)
def test_a_batch_that_does_not_fit(wrong: dict[str, Any], words: str) -> None:
    parts: dict[str, Any] = {"base": torch.zeros(3), "scale": torch.zeros(2), "place": "settings", "differences": None}
    with pytest.raises(InvalidBatch, match=words):
        InnerBatch(**{**parts, **wrong})


# Answers --------------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_loss_and_its_gradient() -> None:
    objective = Controller()
    batch = batch_of(objective)
    x = batch.base.clone().requires_grad_()
    exact = torch.autograd.grad(objective.loss(x, 3), x)[0]
    values, terminated, truncated, info = objective.step(batch)
    assert (terminated, truncated, objective.queries) == (False, False, 5)
    assert values.tolist() == pytest.approx([float(objective.loss(batch.base, 3))] * 5)
    torch.testing.assert_close(info.get("gradient"), exact, rtol=1e-5, atol=1e-8)
    assert info.get("figures") == {"samples": SAMPLES}
    assert info["status"].tolist() == [Status.OK] * 5
    assert info["costs"] == {"forward_equivalents": 5.0}


def test_what_is_told_is_not_the_objectives_own_memory() -> None:
    kept = torch.ones(Controller().dim, dtype=torch.float64)
    objective = Controller(lambda number: InnerAnswer(1.0, kept, {}))
    told = objective.step(batch_of(objective))[3].get("gradient")
    kept.zero_()
    assert told is not None
    assert bool((told == 1).all())


@pytest.mark.parametrize(
    ("change", "words"),
    [({"place": "valves"}, "no inner interface 'valves'; it has 'settings'"), ({"count": 4}, "asked whole.*5 queries")],
)
def test_what_cannot_be_answered_is_said(change: dict[str, Any], words: str) -> None:
    objective = Controller()
    with pytest.raises(InvalidBatch, match=words):
        objective.step(batch_of(objective, **change))
    assert objective.answered == 0


def test_an_objective_without_interfaces_says_so() -> None:
    sphere = zotoolkit.make("Functions/Sphere-v0", dim=3)
    base = torch.zeros(3, dtype=torch.float64)
    batch = InnerBatch(base=base, scale=base.new_zeros(2), place="a", differences=None)
    with pytest.raises(InvalidBatch, match="it has none"):
        sphere.step(batch)
    with pytest.raises(InvalidSetting, match="has none"):
        solver().attach(sphere)


def test_an_empty_batch_asks_nothing() -> None:
    objective = Controller()
    values, _, truncated, info = objective.step(batch_of(objective, 0))
    assert (len(values), truncated, info["queries"], objective.answered) == (0, False, 0, 0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (1.0, "must return an InnerAnswer"),
        ((1.0, torch.zeros(3), None), "must return an InnerAnswer"),
        (InnerAnswer("low", torch.zeros(18), {}), "mean loss as a float"),  # type: ignore[arg-type]
        (InnerAnswer(1.0, torch.zeros(3), {}), r"\(18,\) gradient"),
        (InnerAnswer(1.0, torch.zeros(18, dtype=torch.int64), {}), "gradient"),
    ],
)
def test_an_answer_of_the_wrong_form(answer: Any, words: str) -> None:
    objective = Controller(lambda number: answer)
    with pytest.raises(InvalidValues, match=words):
        objective.step(batch_of(objective))


def test_a_base_that_is_written_into_is_noticed() -> None:
    class Careless(Controller):
        @override
        def evaluate_inner(self, batch: InnerBatch) -> InnerAnswer:
            batch.base.zero_()
            return super().evaluate_inner(batch)

    objective = Careless()
    with pytest.raises(InputMutated, match="evaluate_inner"):
        objective.step(batch_of(objective))


def failing(number: int) -> None:
    raise OSError("the plant is down")


def test_what_raises_has_failed_and_was_paid_for() -> None:
    objective = Controller(failing)
    values, _, truncated, info = objective.step(batch_of(objective))
    assert info["status"].tolist() == [Status.FAILED] * 5
    assert info["errors"][4] == "OSError: the plant is down"
    assert (truncated, objective.queries, bool(values.isnan().all())) == (False, 5, True)
    assert "gradient" not in info


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_an_answer_that_is_not_finite_is_told_and_moves_nothing(part: str) -> None:
    bad = torch.zeros(18, dtype=torch.float64)
    loss = 1.0
    if part == "loss":
        loss = float("nan")
    else:
        bad[3] = torch.inf
    objective, mine = Controller(lambda number: InnerAnswer(loss, bad, {}) if number > 2 else None), solver()
    x0, _ = objective.reset(seed=0)
    mine.attach(objective)
    mine.reset(objective.space, x0, seed=0)
    for k in range(4):
        before, batch = mine.recommend(), mine.ask()
        values, _, _, info = objective.step(batch)
        figures = mine.tell(batch, values, info)
        assert torch.equal(mine.recommend(), before) == (k >= 2)  # Adam's momentum must not carry it on
        assert (figures["missing"] > 0) == (k >= 2)
        assert info["status"].tolist() == [Status.OK if k < 2 else Status.NON_FINITE] * 5


def test_a_plant_that_stays_down_ends_the_run() -> None:
    with pytest.raises(ObjectiveFailed, match="the plant is down"):
        minimized(Controller(failing), solver(), 5_000)


# Budgets --------------------------------------------------------------------------------------------------------------


def test_a_batch_that_an_allowance_does_not_cover_is_skipped_whole() -> None:
    objective = Controller()
    with objective.allowing(4):
        values, _, truncated, info = objective.step(batch_of(objective))
    assert (truncated, info["queries"], objective.answered) == (True, 0, 0)
    assert info["status"].tolist() == [Status.SKIPPED] * 5
    assert bool(values.isnan().all())
    with objective.allowing(5):
        assert objective.step(batch_of(objective))[3]["queries"] == 5


def test_a_run_ends_when_its_budget_covers_no_further_batch() -> None:
    result = minimized(Controller(), solver(), 5 * 7 + 3)
    assert (result.reason, result.queries) == (Reason.BUDGET_SPENT, 36)  # 7 batches, and one query at the end
    assert result.value == pytest.approx(float(Controller().loss(result.x, result.iterations)))


@pytest.mark.parametrize("kind", ["inner", "dense"])
def test_a_budget_of_the_objectives_own_ends_the_run(kind: str) -> None:
    class Limited(Controller):
        rows = 0

        @override
        def evaluate(self, x: Tensor, context: int) -> Tensor:
            self.rows += len(x)
            if self.rows > 20:
                raise BudgetSpent("no more than 20")
            return super().evaluate(x, context)

    def trouble(number: int) -> None:
        if number > 3:
            raise BudgetSpent("no more than 3")

    if kind == "inner":
        result = minimized(Controller(trouble), solver(), 500)
        assert (result.reason, result.queries) == (Reason.BUDGET_SPENT, 16)
    else:
        objective = Limited()
        objective.limit_chunk(4)
        result = minimized(objective, zotoolkit.make_solver("ZO/SGD-CGE-v0"), 500)
        assert (result.reason, result.queries) == (Reason.BUDGET_SPENT, 19)  # the second estimate was cut off


# Wrappers -------------------------------------------------------------------------------------------------------------


def test_wrappers_that_hand_on_what_they_are_told(tmp_path: Path) -> None:
    plain = minimized(Controller(), solver(), 51)
    record = wrappers.Record(Controller(), tmp_path / "queries.csv")
    with record:
        wrapped = wrappers.TargetReached(wrappers.Cache(wrappers.BudgetLimit(wrappers.Retry(record), 10_000)), -1.0)
        result = minimized(wrapped, solver(), 51)
    assert torch.equal(result.x, plain.x)
    table = wrappers.read_record(tmp_path / "queries.csv")
    assert len(table) == 51
    assert set(table["kind"][:50]) == {"inner"}


def test_a_target_and_a_limit_end_a_run() -> None:
    start = float(Controller().loss(Controller().start(), 0))
    reached = minimized(wrappers.TargetReached(Controller(), start / 2), solver(), 5_000)
    assert reached.reason is Reason.TARGET_REACHED
    limited = wrappers.BudgetLimit(Controller(), 18)
    result = minimized(limited, solver(), 5_000)
    assert (result.reason, limited.remaining) == (Reason.BUDGET_SPENT, 2)  # 3 batches, and one query at the end


def test_retry_asks_a_failed_batch_again_as_a_whole() -> None:
    def flaky(number: int) -> None:
        if number % 2:
            failing(number)

    plain = minimized(Controller(), solver(), 51)
    again = minimized(wrappers.Retry(Controller(flaky), attempts=2), solver(), 101)
    assert torch.equal(again.x, plain.x)
    assert again.queries == 101


@pytest.mark.parametrize("kind", ["noise", "rescale"])
def test_wrappers_that_change_losses_or_coordinates_refuse(kind: str) -> None:
    class Boxed(Controller):
        def __init__(self) -> None:
            super().__init__()
            self.space = zotoolkit.make_space(self.layout.dim, -3.0, 3.0, dtype="float64")

    wrapped = wrappers.Noise(Controller(), 0.1) if kind == "noise" else wrappers.RescaleSpace(Boxed())
    outer = wrappers.BudgetLimit(wrapped, 100)
    with pytest.raises(InvalidSetting, match=f"{type(wrapped).__name__} changes losses or coordinates"):
        solver().attach(outer)
    with pytest.raises(InvalidBatch, match="leave the wrapper out"):
        outer.step(batch_of(outer))


def test_a_wrapper_that_swallows_the_gradient_is_named() -> None:
    class Halved(wrappers.Wrapper):
        @override
        def _answer(self, batch: Any) -> Any:
            values, terminated, truncated, info = super()._answer(batch)
            bare = {name: info[name] for name in ("status", "errors", "queries", "costs")}
            return values / 2, terminated, truncated, bare

    with pytest.raises(InvalidSetting, match="must hand on 'gradient'"):
        minimized(Halved(Controller()), solver(), 100)


def test_random_directions_belong_to_seed_and_context() -> None:
    objective = Controller()
    asked = {
        (seed, context): objective.step(batch_of(objective, 3, context, seed=seed, differences=RGE(mu=1e-3, q=2)))[
            3
        ].get("gradient")
        for seed in (1, 2)
        for context in (3, 4)
    }
    first = objective.step(batch_of(objective, 3, 3, seed=1, differences=RGE(mu=1e-3, q=2)))[3].get("gradient")
    assert torch.equal(first, asked[1, 3])  # type: ignore[arg-type]
    assert len({tuple(gradient.tolist()) for gradient in asked.values() if gradient is not None}) == 4
