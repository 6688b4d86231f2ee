"""DeepZero: phases, the composition it is in training, schedules and budgets, resuming, failures."""

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

import zotoolkit
from zotoolkit import CGE, CoordinateBatch, GradientSolver, SeededBatch
from zotoolkit.engines import ParameterLayout
from zotoolkit.errors import AskTellOrder, InvalidSetting, ScheduleWarning
from zotoolkit.masks import LayerwiseRandomMask, magnitude_scores, score_ratios, uniform_ratios
from zotoolkit.run import Run
from zotoolkit.solvers.zo_grasp import zo_grasp_scores
from zotoolkit.testing import SolverConformance

F64 = torch.float64
NETWORK = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
LAYOUT = ParameterLayout.of(NETWORK)  # 9 + 3 + 6 + 2 coordinates, of which 15 are weights


class Layered(zotoolkit.BlackBoxObjective):
    """A smooth function with layers, mini-batches and, if told, epochs."""

    def __init__(self, epoch: int | None = None, dtype: str = "float64") -> None:
        super().__init__(zotoolkit.make_space(20, dtype=dtype))
        self.layout = LAYOUT
        if epoch is not None:
            self.metadata["batches_per_epoch"] = epoch

    @override
    def start(self) -> Tensor:
        return torch.linspace(-1.2, 1.0, 20, dtype=self.dtype)

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        target = 0.3 + 0.1 * math.sin(context)
        return ((x - target) ** 2).sum(dim=1) + 0.1 * (x**4).sum(dim=1)


def make(**settings: Any) -> Any:
    return zotoolkit.make_solver("ZO/DeepZero-v0", **{"q": 3, "lr": 0.02, "sparsity": 0.6, **settings})


def begun(solver: Any, objective: Any, seed: int = 0) -> Any:
    solver.attach(objective)
    x0, _ = objective.reset(seed=seed)
    solver.reset(objective.space, x0, seed=seed)
    return solver


def advance(solver: Any, objective: Any, iterations: int) -> tuple[list[Any], list[dict[str, float]]]:
    batches, figures = [], []
    while len(batches) < iterations and not solver.finished:
        batches.append(solver.ask())
        values, _, _, info = objective.step(batches[-1])
        figures.append(solver.tell(batches[-1], values, info))
    return batches, figures


# Phases ---------------------------------------------------------------------------------------------------------------


def test_scores_first_then_sparse_coordinates() -> None:
    objective, solver = Layered(), make(iterations=5, refresh=2)
    begun(solver, objective, seed=4)
    assert solver.ratios is None
    batches, figures = advance(solver, objective, 99)
    assert [type(batch) for batch in batches] == [SeededBatch] * 2 + [CoordinateBatch] * 5
    assert [batch.context for batch in batches] == [0, 0, 0, 1, 2, 3, 4]
    # 6 of 15 weights and 5 biases, and the base point.
    assert [len(batch) for batch in batches] == [4, 4] + [12] * 5
    assert [figure["phase"] for figure in figures] == [0, 1, 2, 2, 2, 2, 2]
    assert all(figure["alive"] == 11 for figure in figures)
    assert {"loss", "gradient_norm", "lr", "missing", "alive", "phase"} == set(figures[0]) == set(figures[-1])
    sets = [batch.index[1:].tolist() for batch in batches[2:]]
    assert sets[0] == sets[1] != sets[2] == sets[3] != sets[4]
    assert solver.finished


def test_the_ratios_are_those_of_the_stand_alone_scores() -> None:
    objective, solver = Layered(), make(iterations=3, least=2)
    begun(solver, objective, seed=4)
    advance(solver, objective, 2)
    x0, _ = objective.reset(seed=4)
    assert solver.ratios == score_ratios(zo_grasp_scores(objective, x0, q=3, seed=4), LAYOUT, 0.6, least=2)


@pytest.mark.parametrize("scores", ["magnitude", "random"])
def test_other_scores_take_no_queries(scores: str) -> None:
    objective, solver = Layered(), make(iterations=3, scores=scores)
    begun(solver, objective)
    x0, _ = objective.reset()
    expected = (
        uniform_ratios(LAYOUT, 0.6, 1) if scores == "random" else score_ratios(magnitude_scores(x0), LAYOUT, 0.6, 1)
    )
    assert solver.ratios == expected
    batches, _ = advance(solver, objective, 99)
    assert [len(batch) for batch in batches] == [12] * 3


def test_without_sparsity_every_coordinate_is_estimated_and_nothing_scored() -> None:
    objective, solver = Layered(), make(iterations=2, sparsity=0.0)
    begun(solver, objective)
    batches, figures = advance(solver, objective, 99)
    assert [len(batch) for batch in batches] == [21] * 2
    assert figures[0]["alive"] == 20


@pytest.mark.parametrize("difference", ["forward", "central"])
def test_training_is_the_composition_that_it_says_it_is(difference: Any) -> None:
    settings: dict[str, Any] = {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}
    objective = Layered()
    solver = begun(make(iterations=10, warmup=0.2, refresh=3, difference=difference, **settings), objective, seed=2)
    advance(solver, objective, 2)

    def factor(step: int) -> float:
        return (step + 1) / 2 if step < 2 else (1 + math.cos(math.pi * min((step - 2) / 8, 1))) / 2

    composed = GradientSolver(
        CGE(5e-3, difference),
        functools.partial(torch.optim.SGD, **settings),
        functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=factor),
        LayerwiseRandomMask(solver.ratios, refresh=3),
    )
    begun(composed, objective, seed=2)
    _, ours = advance(solver, objective, 99)
    _, theirs = advance(composed, objective, 10)
    assert [figure["lr"] for figure in ours] == pytest.approx([figure["lr"] for figure in theirs])
    torch.testing.assert_close(solver.recommend(), composed.recommend(), rtol=0, atol=1e-12)


# Schedules and budgets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "epoch", "budget", "steps", "refresh"),
    [
        ({"iterations": 120}, None, None, 120, 2),
        ({"iterations": 120}, 5, None, 120, 2),
        ({"iterations": 600}, 5, None, 600, 5),
        ({"epochs": 3}, 5, None, 15, 5),
        ({"epochs": 4, "refresh_epochs": 2}, 5, None, 20, 10),
        ({}, 5, None, 250, 5),
        ({}, 5, 10**6, 250, 5),  # the paper's 50 epochs
        ({}, 5, 8 + 12 * 100 + 11, 100, 2),  # what the budget pays for
        ({}, None, 8 + 12 * 100, 100, 2),
        ({"iterations": 40}, 5, 10**6, 40, 1),
        ({"difference": "central"}, 5, 8 + 22 * 30, 30, 1),
        ({"sparsity": 0.0}, None, 21 * 30, 30, None),
    ],
)
def test_how_long_the_schedule_is(settings: Any, epoch: Any, budget: Any, steps: int, refresh: Any) -> None:
    objective = Layered(epoch)
    solver = begun(make(**settings), objective)
    if budget is not None:
        solver.plan(budget)
    batches, figures = advance(solver, objective, 10**4)
    training = [batch for batch in batches if isinstance(batch, CoordinateBatch)]
    assert len(training) == steps
    rates = [figure["lr"] for figure in figures if figure["phase"] == 2]
    rising = round(0.06 * steps)
    assert rates[: rising + 1] == pytest.approx([0.02 * min((k + 1) / max(rising, 1), 1) for k in range(rising + 1)])
    assert rates[-1] < 0.02 * 0.02
    if refresh is not None:
        sets = [tuple(batch.index.tolist()) for batch in training]
        changes = [k for k in range(1, steps) if sets[k] != sets[k - 1]]
        assert changes == list(range(refresh, steps, refresh))
    if budget is not None:
        assert objective.queries <= budget


@pytest.mark.parametrize(
    ("settings", "budget", "message"),
    [
        ({"iterations": 50}, 8 + 12 * 20, "248 queries pay for 20 of the schedule's 50 steps"),
        ({"epochs": 10}, 8 + 12 * 20, "248 queries pay for 20 of the schedule's 50 steps"),
        ({}, 19, "19 queries do not pay for one step: scores take 8 and each step 12"),
    ],
)
def test_a_budget_that_does_not_pay_is_told(settings: Any, budget: int, message: str) -> None:
    solver = begun(make(**settings), Layered(5))
    with pytest.warns(ScheduleWarning, match=message):
        solver.plan(budget)


def test_a_schedule_that_nobody_knows() -> None:
    objective = Layered()
    solver = begun(make(scores="random"), objective)
    with pytest.raises(InvalidSetting, match="does not know how long to train: give iterations, call plan"):
        solver.ask()
    with pytest.raises(InvalidSetting, match=r"epochs=2 needs an objective that tells metadata\['batches_per_epoch'\]"):
        begun(make(epochs=2), objective)
    with pytest.raises(InvalidSetting, match=r"refresh_epochs=2 needs an objective"):
        begun(make(refresh_epochs=2, iterations=9), objective)
    solver = begun(make(iterations=9), objective)
    advance(solver, objective, 1)
    with pytest.raises(AskTellOrder, match="plan is called after reset and before the first ask"):
        solver.plan(100)


# Resuming -------------------------------------------------------------------------------------------------------------


class StopAfter(zotoolkit.Callback):
    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    @override
    def on_iteration(self, run: Run) -> bool:
        return run.iteration == self.iterations


@pytest.mark.parametrize("stop", [1, 2, 3, 9])
@pytest.mark.parametrize("epoch", [None, 4])
def test_a_run_that_stopped_anywhere_goes_on_to_the_bit(stop: int, epoch: int | None, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"budget": 200, "seed": 3, "progress": False}
    whole = zotoolkit.minimize(Layered(epoch), make(), **settings)
    zotoolkit.minimize(Layered(epoch), make(), **settings, checkpoint=tmp_path, callbacks=[StopAfter(stop)])
    resumed = zotoolkit.minimize(
        Layered(epoch), make(), **settings, checkpoint=tmp_path, callbacks=[StopAfter(0)], resume=True
    )
    assert torch.equal(resumed.x, whole.x)
    assert (resumed.queries, resumed.iterations) == (whole.queries, whole.iterations)


def test_a_run_resumed_with_a_larger_budget_follows_its_first_plan(tmp_path: Path) -> None:
    first = zotoolkit.minimize(Layered(), make(), budget=100, checkpoint=tmp_path, progress=False)
    second = zotoolkit.minimize(Layered(), make(), budget=500, checkpoint=tmp_path, resume=True, progress=False)
    assert torch.equal(first.x, second.x)


class _Attached(SolverConformance):
    """The promises, on an objective that tells its layers."""

    dim = 20
    lag = 2
    budget = 400
    epoch: int | None = None

    def make_solver(self) -> Any:
        solver = make(lr=0.05)
        solver.attach(Layered(self.epoch))
        return solver

    progress_budget = 1000


class TestWithLayers(_Attached):
    pass


class TestWithLayersAndEpochs(_Attached):
    epoch = 3


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [0, 1])
def test_scores_that_cannot_be_formed_are_asked_anew_on_another_mini_batch(failing: int) -> None:
    objective, solver = Layered(), make(iterations=3)
    begun(solver, objective)
    contexts, phases = [], []
    for k in range(failing + 4):
        batch = solver.ask()
        contexts.append(batch.context)
        values = objective.step(batch)[0]
        phases.append(solver.tell(batch, values * float("nan") if k == failing else values)["phase"])
    assert contexts == [0] * (failing + 1) + [1, 1, 0]
    assert phases == ([0.0] if failing == 0 else [0.0, 1.0]) + [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must be a number in \[0, 1\), got 1.0"),
        ({"scores": "grasp"}, "scores must be one of 'zo-grasp', 'magnitude', 'random', got 'grasp'"),
        ({"epochs": 2, "iterations": 3}, "give epochs or iterations, not both: got 2 and 3"),
        ({"warmup": 1.0}, r"warmup must be a share in \[0, 1\) of the schedule, got 1.0"),
        ({"least": -1}, "least must be an integer of at least 0, got -1"),
        ({"refresh": 1, "refresh_epochs": 2}, "give refresh or refresh_epochs, not both: got 1 and 2"),
        ({"refresh": 0}, "refresh must be an integer of at least 1, got 0"),
        ({"iterations": 0}, "iterations must be an integer of at least 1, got 0"),
        ({"normalize": "no"}, "normalize must be one of"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        make(**settings)


def test_a_network_trains() -> None:
    objective = zotoolkit.make("DNN/DigitsMLP-v0")
    solver = zotoolkit.make_solver("ZO/DeepZero-v0", sparsity=0.8, q=24)
    x0, _ = objective.reset(seed=0)
    before = objective.metrics(x0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = zotoolkit.minimize(objective, solver, budget=12_000, progress=False)
    assert result.metrics["test_accuracy"] > 0.6 > before["test_accuracy"] + 0.3
