"""The solver that works at an inner interface, on the controller of `tests.test_inner`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

import zotoolkit
from tests.test_inner import CENTRAL, Controller, InnerBatch
from zotoolkit import CGE, RGE, Reason
from zotoolkit.checkpoint import load_state, save_state
from zotoolkit.errors import AskTellOrder, InvalidSetting, ScheduleWarning
from zotoolkit.estimators.base import Estimator
from zotoolkit.inner import InnerAnswer
from zotoolkit.solvers.inner_gradient import InnerGradientSolver

ADAM = functools.partial(torch.optim.Adam, lr=0.03)


def adaptive(mu: float) -> RGE:
    return RGE(mu=mu, q=4, difference="central")


class Probed(Controller):
    """Counts how often it was asked which mu fits."""

    probes = 0

    @override
    def inner_mu(self, place: str) -> float:
        self.probes += 1
        return 1e-3


def started(objective: Controller, solver: InnerGradientSolver, seed: int = 0) -> InnerGradientSolver:
    x0, _ = objective.reset(seed=seed)
    solver.attach(objective)
    solver.reset(objective.space, x0, seed=seed)
    return solver


def step(objective: Controller, solver: InnerGradientSolver) -> dict[str, float]:
    batch = solver.ask()
    values, _, _, info = objective.step(batch)
    return solver.tell(batch, values, info)


@pytest.mark.parametrize("differences", [CENTRAL, RGE(mu=1e-4, q=8, difference="central"), adaptive, CGE])
def test_it_trains_the_known_part(differences: Any) -> None:
    objective = Controller()
    before = float(torch.stack([objective.loss(objective.start(), k) for k in range(20)]).mean())
    result = zotoolkit.minimize(
        objective, InnerGradientSolver("settings", differences, ADAM), budget=1_500, progress=False
    )
    after = float(torch.stack([objective.loss(result.x, k) for k in range(20)]).mean())
    assert after < before / 4


def test_a_step_is_the_optimizers_step_with_the_told_gradient() -> None:
    objective, solver = (
        Controller(),
        InnerGradientSolver("settings", CENTRAL, functools.partial(torch.optim.SGD, lr=0.5)),
    )
    started(objective, solver)
    x0, batch = solver.recommend(), solver.ask()
    values, _, _, info = objective.step(batch)
    gradient = info.get("gradient")
    assert gradient is not None
    figures = solver.tell(batch, values, info)
    assert torch.equal(solver.recommend(), x0 - 0.5 * gradient)
    assert figures["loss"] == float(values[0])
    assert figures["gradient_norm"] == pytest.approx(float(gradient.norm()))
    assert (figures["samples"], figures["missing"], figures["lr"]) == (6.0, 0.0, 0.5)


def test_the_fitting_mu_is_asked_for_once_and_kept() -> None:
    objective = Probed()
    solver = started(objective, InnerGradientSolver("settings", adaptive, ADAM))
    for _ in range(3):
        step(objective, solver)
    assert objective.probes == 1
    solver.reset(objective.space, objective.start(), seed=1)
    step(objective, solver)
    assert objective.probes == 2


@pytest.mark.parametrize("split", [0, 1, 3])
def test_a_resumed_run_is_the_same_to_the_bit(split: int, tmp_path: Path) -> None:
    objective = Controller()
    schedule = functools.partial(LambdaLR, lr_lambda=lambda k: 0.9**k)

    def fresh() -> InnerGradientSolver:
        return started(objective, InnerGradientSolver("settings", adaptive, ADAM, schedule, iterations=6), seed=4)

    whole = fresh()
    while not whole.finished:
        step(objective, whole)
    first = fresh()
    for _ in range(split):
        step(objective, first)
    save_state(tmp_path, {"solver": first.state_dict()}, {})
    first.ask()  # what it finds out while asking is no part of its state
    assert str(first.state_dict()) == str(load_state(tmp_path)[0]["solver"])
    other = Probed()
    resumed = started(other, InnerGradientSolver("settings", adaptive, ADAM, schedule, iterations=6), seed=4)
    resumed.load_state_dict(load_state(tmp_path)[0]["solver"])
    while not resumed.finished:
        step(other, resumed)
    assert torch.equal(resumed.recommend(), whole.recommend())
    assert other.probes == (split == 0)


def test_a_checkpointed_run_is_resumed_to_the_bit(tmp_path: Path) -> None:
    def go(**more: Any) -> Tensor:
        solver = InnerGradientSolver("settings", adaptive, ADAM)
        return zotoolkit.minimize(Controller(), solver, seed=2, progress=False, **more).x

    go(budget=9 * 5 + 1, checkpoint=tmp_path)
    resumed = go(budget=9 * 12 + 1, checkpoint=tmp_path, resume=True)
    assert torch.equal(resumed, go(budget=9 * 12 + 1))


def test_iterations_end_the_run() -> None:
    result = zotoolkit.minimize(
        Controller(), InnerGradientSolver("settings", CENTRAL, ADAM, iterations=4), budget=100, progress=False
    )
    assert (result.reason, result.iterations, result.queries) == (Reason.SOLVER_FINISHED, 4, 21)


def test_a_budget_that_ends_the_schedule_early_is_said() -> None:
    solver = InnerGradientSolver("settings", adaptive, ADAM, iterations=10)
    with pytest.warns(ScheduleWarning, match="57 queries pay for 6 of 10 iterations of 9 queries"):
        zotoolkit.minimize(Controller(), solver, budget=58, progress=False)
    zotoolkit.minimize(Controller(), solver, budget=91, progress=False)


def test_the_seed_decides_the_directions() -> None:
    def asked(seed: int) -> InnerBatch:
        batch = started(Controller(), InnerGradientSolver("settings", CENTRAL, ADAM), seed).ask()
        assert isinstance(batch, InnerBatch)
        return batch

    assert (asked(5).seed, asked(5).context, asked(5).place) == (5, 0, "settings")
    assert asked(6).seed == 6


def test_first_order_says_so() -> None:
    class Differentiable(Controller):
        @override
        def inner_queries(self, place: str, differences: Any) -> int:
            return 1

        @override
        def evaluate_inner(self, batch: InnerBatch) -> InnerAnswer:
            x = batch.base.clone().requires_grad_()
            loss = self.loss(x, batch.context)
            return InnerAnswer(loss, torch.autograd.grad(loss, x)[0], {})  # type: ignore[arg-type]

    solver = InnerGradientSolver("settings", None, ADAM, iterations=150)
    assert solver.first_order
    assert not InnerGradientSolver("settings", CENTRAL, ADAM).first_order
    result = zotoolkit.minimize(Differentiable(), solver, budget=200, progress=False)
    assert result.queries == 151


# What does not fit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"differences": 3}, "differences must be a CGE, an RGE, a function of mu or None, got 3"),
        ({"iterations": 0}, "iterations"),
        ({"optimizer": None}, "optimizer"),
        ({"scheduler": 1}, "scheduler"),
    ],
)
def test_bad_settings(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        InnerGradientSolver(**{"place": "settings", "differences": CENTRAL, "optimizer": ADAM, **change})


@pytest.mark.parametrize(
    ("place", "differences", "words"),
    [
        ("valves", CENTRAL, "works at the interface 'valves'.* has 'settings'"),
        ("settings", lambda mu: mu, "estimator must be a CGE or an RGE"),
        ("settings", RGE(mu=1e-3, q=2, normalize="per-tensor"), "a sample is one tensor"),
    ],
)
def test_what_does_not_fit_the_objective_is_said_before_anything_is_asked(
    place: str, differences: Any, words: str
) -> None:
    objective = Controller()
    with pytest.raises(InvalidSetting, match=words):
        zotoolkit.minimize(objective, InnerGradientSolver(place, differences, ADAM), budget=100, progress=False)
    assert objective.queries == 0


def test_order() -> None:
    objective, solver = Controller(), InnerGradientSolver("settings", CENTRAL, ADAM)
    with pytest.raises(AskTellOrder, match="reset"):
        solver.ask()
    solver.reset(objective.space, objective.start())
    with pytest.raises(AskTellOrder, match="attach"):
        solver.ask()
    solver.attach(objective)
    batch = solver.ask()
    assert solver.ask() is batch
    values, _, _, info = objective.step(batch)
    with pytest.raises(InvalidSetting, match="needs the step's info"):
        solver.tell(batch, values)
    solver.tell(batch, values, info)
    with pytest.raises(AskTellOrder):
        solver.tell(batch, values, info)


def test_a_batch_without_an_answer_moves_nothing() -> None:
    objective = Controller()
    solver = started(objective, InnerGradientSolver("settings", CENTRAL, ADAM))
    step(objective, solver)
    before = solver.recommend()
    with objective.allowing(0):
        figures = step(objective, solver)
    assert torch.equal(solver.recommend(), before)
    assert figures["missing"] == 5
    assert isinstance(solver.estimator, Estimator)
    assert solver.estimator.margin(0) == 0.0
