"""Recipes: what they compose, Spall's formulas, schedules, settings that cannot be."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import zotoolkit
from zotoolkit import CGE, RGE, GradientSolver, PowerDecay, UniformMask
from zotoolkit.directions import directions
from zotoolkit.errors import InvalidSetting, UnknownSetting

F64 = torch.float64
TARGET = torch.tensor([1.0, -2.0, 0.5], dtype=F64)


def loss(points: Tensor) -> Tensor:
    return ((points - TARGET) ** 2).sum(dim=-1) + 0.1 * points[..., 0] ** 3


def started(id: str, **settings: Any) -> Any:
    solver = zotoolkit.make_solver(id, **settings)
    solver.reset(zotoolkit.make_space(3, dtype="float64"), torch.zeros(3, dtype=F64), seed=5)
    return solver


def advance(solver: Any, iterations: int) -> list[dict[str, float]]:
    figures = []
    for _ in range(iterations):
        batch = solver.ask()
        figures.append(solver.tell(batch, loss(batch.points())))
    return figures


@pytest.mark.parametrize("q", [1, 3])
def test_spsa_follows_spalls_formulas(q: int) -> None:
    """x_{k+1} = x_k - a_k g_k(x_k), g_ki = [y(x_k + c_k D_k) - y(x_k - c_k D_k)] / (2 c_k D_ki), D_ki = +-1.

    a_k = a / (A + k + 1)^alpha and c_k = c / (k + 1)^gamma, averaged over q directions.
    """
    a, c, stability, alpha, gamma = 0.4, 0.2, 7.0, 0.602, 0.101
    solver = started("ZO/SPSA-v0", a=a, c=c, stability=stability, alpha=alpha, gamma=gamma, q=q)
    x = torch.zeros(3, dtype=F64)
    for k in range(12):
        batch = solver.ask()
        a_k, c_k = a / (stability + k + 1) ** alpha, c / (k + 1) ** gamma
        gradient = torch.zeros(3, dtype=F64)
        for delta in directions(batch.seed[::2], "rademacher", 3).double():
            gradient += (loss(x + c_k * delta) - loss(x - c_k * delta)) / (2 * c_k * delta) / q
        x = x - a_k * gradient
        solver.tell(batch, loss(batch.points()))
        torch.testing.assert_close(solver.recommend(), x, rtol=1e-10, atol=1e-12)


def test_spsa_defaults_are_spalls_exponents() -> None:
    solver = zotoolkit.make_solver("ZO/SPSA-v0")
    assert isinstance(solver, GradientSolver)
    assert solver.estimator == RGE(PowerDecay(0.1, 0.101), 1, "central", "rademacher")


def test_sign_sgd_moves_every_coordinate_by_the_rate() -> None:
    solver = started("ZO/SignSGD-v0", lr=0.125, q=50)
    advance(solver, 1)
    assert solver.recommend().abs().tolist() == [0.125] * 3


@pytest.mark.parametrize(
    ("id", "estimator", "optimizer"),
    [
        ("ZO/SGD-CGE-v0", CGE(0.25, "central", 2), torch.optim.SGD),
        ("ZO/Adam-CGE-v0", CGE(0.25, "central", 2), torch.optim.Adam),
        ("ZO/SGD-RGE-v0", RGE(0.25, 7, "central", "sphere"), torch.optim.SGD),
        ("ZO/Adam-RGE-v0", RGE(0.25, 7, "central", "sphere"), torch.optim.Adam),
        ("ZO/SignSGD-v0", RGE(0.25, 7, "central", "sphere"), zotoolkit.SignSGD),
    ],
)
def test_settings_reach_their_parts(id: str, estimator: Any, optimizer: Any) -> None:
    settings: dict[str, Any] = {"subset": 2} if "CGE" in id else {"q": 7, "law": "sphere"}
    solver = started(id, lr=0.5, mu=0.25, difference="central", **settings)
    assert solver.estimator == estimator
    assert type(solver._optimizer) is optimizer
    assert advance(solver, 1)[0]["lr"] == 0.5


def test_sgd_settings_reach_sgd_and_the_mask() -> None:
    solver = started("ZO/SGD-RGE-v0", momentum=0.25, weight_decay=0.125, keep=0.5, refresh=4)
    group = solver._optimizer.param_groups[0]
    assert (group["momentum"], group["weight_decay"]) == (0.25, 0.125)
    assert solver.mask == UniformMask(0.5, 4)


@pytest.mark.parametrize("id", ["ZO/SGD-CGE-v0", "ZO/SGD-RGE-v0", "ZO/Adam-CGE-v0", "ZO/Adam-RGE-v0", "ZO/SignSGD-v0"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_schedules_fall_to_0_and_stay_there(id: str, schedule: str) -> None:
    solver = started(id, lr=0.5, schedule=schedule, iterations=4)
    rates = [figures["lr"] for figures in advance(solver, 7)]
    shares = [min(k / 4, 1.0) for k in range(7)]
    factors = {
        "constant": [1.0] * 7,
        "cosine": [(1 + math.cos(math.pi * share)) / 2 for share in shares],
        "linear": [1 - share for share in shares],
    }
    assert rates == pytest.approx([0.5 * factor for factor in factors[schedule]], abs=1e-12)


@pytest.mark.parametrize(
    ("id", "settings", "message"),
    [
        ("ZO/SGD-CGE-v0", {"lr": 0}, "lr must be a finite number above 0, got 0"),
        ("ZO/SGD-CGE-v0", {"mu": -1.0}, "mu must be .* got -1.0"),
        ("ZO/SGD-CGE-v0", {"momentum": 1.0}, r"momentum must be a number in \[0, 1\), got 1.0"),
        ("ZO/SGD-CGE-v0", {"momentum": "x"}, "momentum must be .* got 'x'"),
        ("ZO/SGD-CGE-v0", {"weight_decay": -1.0}, "weight_decay must be a finite number of at least 0, got -1.0"),
        ("ZO/SGD-CGE-v0", {"schedule": "cosin"}, r"schedule must be one of .*Did you mean 'cosine'\?"),
        ("ZO/SGD-CGE-v0", {"schedule": "linear"}, "schedule='linear' needs iterations"),
        (
            "ZO/SGD-CGE-v0",
            {"schedule": "linear", "iterations": 0},
            "iterations must be an integer of at least 1, got 0",
        ),
        ("ZO/SGD-CGE-v0", {"keep": 0.0}, "keep must be .* got 0.0"),
        ("ZO/SGD-RGE-v0", {"q": 0}, "q must be an integer of at least 1, got 0"),
        ("ZO/SignSGD-v0", {"momentum": -0.5}, "momentum must be .* got -0.5"),
        ("ZO/Adam-RGE-v0", {"lr": float("nan")}, "lr must be .* got nan"),
        ("ZO/SPSA-v0", {"a": 0.0}, "a must be .* got 0.0"),
        ("ZO/SPSA-v0", {"c": -1.0}, "initial must be .* got -1.0"),
        ("ZO/SPSA-v0", {"stability": -1.0}, "stability must be a finite number of at least 0, got -1.0"),
        ("ZO/SPSA-v0", {"stability": float("nan")}, "stability .* got nan"),
        ("ZO/SPSA-v0", {"alpha": 0.0}, "alpha must be .* got 0.0"),
        ("ZO/SPSA-v0", {"q": 0}, "q must be .* got 0"),
    ],
)
def test_settings_that_cannot_be(id: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        zotoolkit.make_solver(id, **settings)


def test_settings_that_there_are_not() -> None:
    with pytest.raises(UnknownSetting, match=r"ZO/SPSA-v0 has no setting 'stabilty'; .*Did you mean 'stability'\?"):
        zotoolkit.make_solver("ZO/SPSA-v0", stabilty=1.0)
