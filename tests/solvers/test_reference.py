"""First-order references: exactly back-propagation, and never mistaken for a zeroth-order solver."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.nn import functional

import zotoolkit
from problems.dnn import TrainNetwork
from zotoolkit.errors import AskTellOrder, InvalidSetting
from zotoolkit.solvers.reference import FirstOrderReference, first_order_curve


def network() -> TrainNetwork:
    objective = zotoolkit.make("DNN/DigitsMLP-v0", hidden=4, dtype="float64")
    assert isinstance(objective, TrainNetwork)
    return objective


def test_equals_a_plain_training_loop() -> None:
    objective = network()
    x0, _ = objective.reset(seed=3)
    module = objective.network(x0).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - min(k / 12, 1.0))
    for k in range(12):
        inputs, targets = objective.minibatch(k)
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs), targets).backward()
        optimizer.step()
        scheduler.step()
    solver = zotoolkit.make_solver("Reference/SGD-v0", lr=0.1, schedule="linear", iterations=12)
    result = zotoolkit.minimize(network(), solver, budget=1000, seed=3, progress=False)
    torch.testing.assert_close(result.x, objective.layout.flatten(module))
    assert result.queries == 12
    assert result.reason is zotoolkit.Reason.SOLVER_FINISHED


def test_cge_follows_it() -> None:
    budget = 40 * (network().dim * 2)
    cge = zotoolkit.make_solver("ZO/SGD-CGE-v0", lr=0.05, mu=1e-4, difference="central")
    reference = zotoolkit.make_solver("Reference/SGD-v0", lr=0.05, iterations=40)
    zeroth = zotoolkit.minimize(network(), cge, budget=budget, seed=1, progress=False)
    first = zotoolkit.minimize(network(), reference, budget=budget, seed=1, progress=False)
    assert zeroth.iterations == first.iterations == 40
    torch.testing.assert_close(zeroth.x, first.x, rtol=1e-3, atol=1e-3)


def test_the_curve_has_its_rows() -> None:
    objective = network()
    factory = functools.partial(torch.optim.Adam, lr=1e-2)
    rows = first_order_curve(objective, 10, factory, seed=1, every=4)
    assert [row["iteration"] for row in rows] == [0, 4, 8, 10]
    assert [row["queries"] for row in rows] == [0, 4, 8, 10]
    assert rows[-1]["value"] < rows[0]["value"]
    assert rows[-1]["backward_passes"] == 10
    assert 0 <= rows[-1]["test_accuracy"] <= 1
    assert [row["iteration"] for row in first_order_curve(objective, 10, factory)] == [0, 10]
    x0, _ = objective.reset(seed=1)
    assert rows[0]["test_accuracy"] == objective.metrics(x0)["test_accuracy"]


def test_it_is_flagged_and_logs_what_it_costs() -> None:
    solver = zotoolkit.make_solver("Reference/Adam-v0")
    assert isinstance(solver, FirstOrderReference)
    assert solver.first_order
    assert not getattr(zotoolkit.make_solver("ZO/SGD-CGE-v0"), "first_order", False)
    objective = zotoolkit.make("Functions/Sphere-v0", dim=3)
    solver.attach(objective)
    x0, _ = objective.reset()
    solver.reset(objective.space, x0)
    for k in range(3):
        batch = solver.ask()
        assert len(batch) == 1
        values, _, _, info = objective.step(batch)
        assert solver.tell(batch, values, info)["backward_passes"] == k + 1


def test_an_objective_without_gradient_is_refused() -> None:
    solver = zotoolkit.make_solver("Reference/SGD-v0")
    blind = zotoolkit.from_callable(lambda x: float(x @ x), dim=2)
    with pytest.raises(InvalidSetting, match=r"no method gradient\(x, context\)"):
        zotoolkit.minimize(blind, solver, budget=5, progress=False)
    objective = zotoolkit.make("Functions/Sphere-v0", dim=2)
    x0, _ = objective.reset()
    solver = zotoolkit.make_solver("Reference/SGD-v0")
    solver.reset(objective.space, x0)
    batch = solver.ask()
    with pytest.raises(AskTellOrder, match="needs attach"):
        solver.tell(batch, objective.step(batch)[0])
