"""GradientSolver: every torch optimiser, schedules, masks, bounds, failures, and states that come back to the bit."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import lr_scheduler

import zotoolkit
from zotoolkit import (
    CGE,
    RGE,
    CoordinateBatch,
    DenseBatch,
    FixedMask,
    GradientSolver,
    Law,
    PowerDecay,
    SignSGD,
    Status,
    StepInfo,
    UniformMask,
)
from zotoolkit.errors import AskTellOrder, CheckpointMismatch, InvalidSetting, InvalidSpace, InvalidStart, InvalidValues
from zotoolkit.queries import QueryBatch
from zotoolkit.seeding import torch_generator
from zotoolkit.solvers import Solver

F64 = torch.float64
TARGET = torch.linspace(-1, 1, 6, dtype=F64)

# Not among them: LBFGS evaluates inside a step, SparseAdam takes sparse gradients, Muon takes matrices only.
OPTIMIZERS: dict[str, functools.partial[torch.optim.Optimizer]] = {
    "SGD": functools.partial(torch.optim.SGD, lr=0.05),
    "SGD, momentum": functools.partial(torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=1e-4),
    "SGD, Nesterov": functools.partial(torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True),
    "Adam": functools.partial(torch.optim.Adam, lr=0.05),
    "AMSGrad": functools.partial(torch.optim.Adam, lr=0.05, amsgrad=True),
    "AdamW": functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=1e-4),
    "Adamax": functools.partial(torch.optim.Adamax, lr=0.05),
    "NAdam": functools.partial(torch.optim.NAdam, lr=0.05),
    "RAdam": functools.partial(torch.optim.RAdam, lr=0.05),
    "RMSprop": functools.partial(torch.optim.RMSprop, lr=0.02),
    "Rprop": functools.partial(torch.optim.Rprop, lr=0.05),
    "ASGD": functools.partial(torch.optim.ASGD, lr=0.05),
    "Adagrad": functools.partial(torch.optim.Adagrad, lr=0.2),
    "Adadelta": functools.partial(torch.optim.Adadelta, lr=5.0),
    "Adafactor": functools.partial(torch.optim.Adafactor, lr=0.1),
    "SignSGD": functools.partial(SignSGD, lr=0.01),
    "Signum": functools.partial(SignSGD, lr=0.01, momentum=0.9),
}


def parabola(points: Tensor) -> Tensor:
    return ((points.double() - TARGET) ** 2).sum(dim=1)


def started(
    solver: Solver, low: Any = -math.inf, high: Any = math.inf, seed: int = 0, dtype: str = "float64"
) -> Solver:
    space = zotoolkit.make_space(6, low, high, dtype)
    start = torch.full((6,), 0.5, dtype=getattr(torch, dtype)).clamp(torch.tensor(space.low), torch.tensor(space.high))
    solver.reset(space, start, seed=seed)
    return solver


def advance(solver: Solver, iterations: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for _ in range(iterations):
        batch = solver.ask()
        figures = solver.tell(batch, parabola(batch.points()))
    return figures


def sgd(lr: float = 0.1, **settings: Any) -> functools.partial[torch.optim.Optimizer]:
    return functools.partial(torch.optim.SGD, lr=lr, **settings)


def info(statuses: list[int]) -> StepInfo:
    status = torch.tensor(statuses, dtype=torch.uint8)
    return StepInfo(status=status, errors={}, queries=len(statuses), costs={})


# Optimisers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_torch_optimizer_descends(name: str) -> None:
    solver = started(GradientSolver(CGE(1e-4, "central"), OPTIMIZERS[name]))
    before = float(parabola(solver.recommend()[None]))
    advance(solver, 150)
    assert float(parabola(solver.recommend()[None])) < 0.1 * before


def test_every_optimizer_of_torch_is_known_here() -> None:
    public = {
        name
        for name in dir(torch.optim)
        if isinstance(getattr(torch.optim, name), type)
        and issubclass(getattr(torch.optim, name), torch.optim.Optimizer)
    }
    assert public - {"Optimizer", "LBFGS", "SparseAdam", "Muon"} <= {p.func.__name__ for p in OPTIMIZERS.values()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_takes_the_very_steps_that_torch_takes_on_the_estimate(name: str) -> None:
    estimator = CGE(1e-4, "central")
    solver = started(GradientSolver(estimator, OPTIMIZERS[name]))
    x = torch.nn.Parameter(torch.full((6,), 0.5, dtype=F64))
    optimizer = OPTIMIZERS[name]([x])
    for iteration in range(5):
        batch = estimator.queries(x.detach().clone(), None, iteration, 0, solver.bounds)
        values = parabola(batch.points())
        x.grad = estimator.gradient(batch, values, torch.isfinite(values)).gradient
        optimizer.step()
        advance(solver, 1)
    assert torch.equal(solver.recommend(), x.detach())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_come_back_to_the_bit(name: str, dtype: str) -> None:
    def fresh(seed: int) -> Solver:
        schedule = functools.partial(lr_scheduler.StepLR, step_size=2, gamma=0.7)
        return started(
            GradientSolver(RGE(1e-3, q=3), OPTIMIZERS[name], schedule, UniformMask(0.5)), seed=seed, dtype=dtype
        )

    solver = fresh(seed=3)
    advance(solver, 4)
    state = solver.state_dict()
    kept = copy.deepcopy(state)
    advance(solver, 4)
    resumed = fresh(seed=0)
    resumed.load_state_dict(state)
    assert (resumed.seed, resumed.iteration) == (3, 4)
    advance(resumed, 4)
    assert torch.equal(resumed.recommend(), solver.recommend())
    assert str(resumed.state_dict()) == str(solver.state_dict())
    # Neither run wrote into the state that was handed out, so it serves again.
    assert str(state) == str(kept)
    again = fresh(seed=0)
    again.load_state_dict(state)
    advance(again, 4)
    assert torch.equal(again.recommend(), solver.recommend())


def test_optimizers_that_cannot_be() -> None:
    with pytest.raises(InvalidSetting, match="LBFGS re-evaluates the loss inside a step"):
        started(GradientSolver(CGE(), torch.optim.LBFGS))
    with pytest.raises(InvalidSetting, match=r"functools.partial\(torch.optim.SGD, lr=0.1\), got 0.1 \(float\)"):
        GradientSolver(CGE(), 0.1)
    with pytest.raises(InvalidSetting, match=r"optimizer must return a torch optimiser, got None"):
        started(GradientSolver(CGE(), lambda parameters: None))
    with pytest.raises(InvalidSetting, match=r"estimator must be an Estimator such as .* got 'CGE'"):
        GradientSolver("CGE", sgd())
    with pytest.raises(InvalidSetting, match=r"mask must be a Mask such as .* got 0.5"):
        GradientSolver(CGE(), sgd(), mask=0.5)
    with pytest.raises(InvalidSetting, match=r"scheduler must be called with the optimiser .* got 'cosine'"):
        GradientSolver(CGE(), sgd(), "cosine")


# Schedules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (functools.partial(lr_scheduler.StepLR, step_size=2, gamma=0.5), [0.1, 0.1, 0.05, 0.05, 0.025]),
        (functools.partial(lr_scheduler.ExponentialLR, gamma=0.5), [0.1, 0.05, 0.025, 0.0125, 0.00625]),
        (functools.partial(lr_scheduler.LambdaLR, lr_lambda=lambda k: 1 / (k + 1)), [0.1, 0.05, 0.1 / 3, 0.025, 0.02]),
        (
            functools.partial(lr_scheduler.CosineAnnealingLR, T_max=4),
            [0.05 * (1 + math.cos(math.pi * k / 4)) for k in range(5)],
        ),
        (functools.partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=1), [0.1, 0.1, 0.1, 0.05, 0.05]),
    ],
    ids=["step", "exponential", "lambda", "cosine", "plateau"],
)
def test_schedules_step_once_an_iteration(schedule: Any, rates: list[float]) -> None:
    solver = started(GradientSolver(CGE(1e-3), sgd(), schedule))
    seen: list[float] = []
    for _ in range(5):
        batch = solver.ask()
        seen.append(solver.tell(batch, torch.ones(len(batch), dtype=F64))["lr"])  # the loss never gets better
    assert seen == pytest.approx(rates)


def test_a_plateau_that_is_none_keeps_the_rate() -> None:
    solver = started(
        GradientSolver(CGE(1e-3), sgd(0.01), functools.partial(lr_scheduler.ReduceLROnPlateau, patience=0))
    )
    assert advance(solver, 20)["lr"] == 0.01


# Masks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [CGE(1e-3), CGE(1e-3, "central"), RGE(1e-3, q=4)])
def test_a_mask_restricts_queries_and_updates(estimator: Any) -> None:
    alive = [1, 2, 5]
    dead = [0, 3, 4]
    solver = started(GradientSolver(estimator, sgd(0.05), mask=FixedMask(torch.tensor(alive))))
    for _ in range(10):
        batch = solver.ask()
        assert bool((batch.points()[:, dead] == 0.5).all())
        solver.tell(batch, parabola(batch.points()))
    assert solver.recommend()[dead].tolist() == [0.5] * 3
    assert bool((solver.recommend()[alive] != 0.5).all())


def test_a_mask_that_changes_asks_about_other_coordinates() -> None:
    mask = UniformMask(0.5, refresh=2)
    solver = started(GradientSolver(CGE(1e-3), sgd(0.05), mask=mask), seed=4)
    for iteration in range(6):
        batch = solver.ask()
        assert isinstance(batch, CoordinateBatch)
        assert torch.equal(batch.index[1:], mask.alive(6, iteration, 4))
        solver.tell(batch, parabola(batch.points()))


# Bounds ---------------------------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "CGE, forward": lambda mu: CGE(mu),
    "CGE, central": lambda mu: CGE(mu, "central"),
    "CGE, falling": lambda mu: CGE(PowerDecay(mu, 0.5), "central"),
    **{f"RGE, {law.value}": functools.partial(RGE, q=9, law=law) for law in Law},
    "RGE, central": functools.partial(RGE, q=9, difference="central", law=Law.RADEMACHER),
}


@settings(max_examples=150)
@given(
    kind=st.sampled_from(list(KINDS)),
    name=st.sampled_from(["SGD", "Adam", "SignSGD"]),
    size=st.sampled_from([0.5, 3.0, 1e4]),
    where=st.sampled_from([0.0, 0.5, 1.0]),
    open_side=st.sampled_from(["none", "low", "high"]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 10**6),
)
def test_no_query_ever_leaves_the_box(
    kind: str, name: str, size: float, where: float, open_side: str, dtype: str, seed: int
) -> None:
    """Whatever the losses say: they are noise here, with failures among them, and push the iterate to the borders.

    Bounds and mu have many digits, drawn from the seed, so that a step of mu from a border is rounded.
    """
    draw = functools.partial(torch.rand, generator=torch_generator(seed), dtype=F64)
    low = size * (2 * draw(6) - 1)
    high = low + 1 + draw(6)
    estimator = KINDS[kind](0.05 * float(draw(())) + 1e-3)
    x0 = (low + where * (high - low)).to(getattr(torch, dtype))
    if open_side == "low":
        low[::2] = -math.inf
    elif open_side == "high":
        high[::2] = math.inf
    space = zotoolkit.make_space(6, low.numpy(), high.numpy(), dtype)
    floor, ceiling = torch.tensor(space.low), torch.tensor(space.high)
    solver = GradientSolver(estimator, OPTIMIZERS[name])
    solver.reset(space, x0.clamp(floor, ceiling), seed=seed)
    for _ in range(5):
        batch = solver.ask()
        points = batch.points()
        assert bool((points >= floor).all())
        assert bool((points <= ceiling).all())
        values = 10 ** (6 * draw(len(batch)))
        values[draw(len(batch)) < 0.1] = float("nan")
        solver.tell(batch, values)
        recommended = solver.recommend()
        assert bool(((recommended >= floor) & (recommended <= ceiling)).all())


@pytest.mark.parametrize(
    ("estimator", "reach"),
    [
        (CGE(0.6), "0.6"),
        (CGE(0.5), "0.5"),
        (CGE(0.6, "central"), "0.6"),
        (RGE(0.1), "0.655"),
        (RGE(0.6, law="sphere"), "0.60"),
    ],
)
def test_a_smoothing_that_the_box_has_no_room_for_is_told_before_any_query(estimator: Any, reach: str) -> None:
    message = rf"mu is too large for the bounds \[0, 1\] of coordinate 2: queries reach {reach}\d* to either side"
    with pytest.raises(InvalidSetting, match=message):
        started(GradientSolver(estimator, sgd()), low=[-9.0, -9.0, 0.0, -9.0, -9.0, -9.0], high=[9, 9, 1, 9, 9, 9])


def test_a_start_on_the_border_is_moved_inside() -> None:
    solver = GradientSolver(CGE(0.1, "central"), sgd())
    solver.reset(zotoolkit.make_space(2, 0, 1, "float64"), torch.tensor([0.0, 1.0], dtype=F64))
    torch.testing.assert_close(solver.recommend(), torch.tensor([0.1, 0.9], dtype=F64))


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [CGE(1e-3), CGE(1e-3, "central"), RGE(1e-3, q=4), RGE(1e-3, 4, "central")])
@pytest.mark.parametrize("status", [Status.FAILED, Status.NON_FINITE, Status.SKIPPED])
def test_a_batch_that_tells_nothing_moves_nothing(estimator: Any, status: Status) -> None:
    solver = started(GradientSolver(estimator, sgd(0.02, momentum=0.9, weight_decay=0.1)))
    advance(solver, 3)  # momentum is under way
    before = solver.recommend()
    batch = solver.ask()
    figures = solver.tell(batch, torch.full((len(batch),), float("nan"), dtype=F64), info([status] * len(batch)))
    assert torch.equal(solver.recommend(), before)
    assert figures["missing"] == (len(batch) - 1 if estimator.difference == "forward" else len(batch) / 2)
    assert math.isnan(figures["loss"])
    assert solver.iteration == 4


def test_a_base_point_that_failed_moves_nothing_though_others_came_back() -> None:
    solver = started(GradientSolver(CGE(1e-3), sgd(0.02, momentum=0.9)))
    advance(solver, 3)
    before = solver.recommend()
    batch = solver.ask()
    values = parabola(batch.points())
    values[0] = float("nan")
    assert solver.tell(batch, values)["missing"] == 6
    assert torch.equal(solver.recommend(), before)


def test_a_flat_loss_is_no_failure() -> None:
    """A gradient of 0 that was measured steps: momentum carries on."""
    solver = started(GradientSolver(CGE(1e-3), sgd(0.02, momentum=0.9)))
    advance(solver, 3)
    before = solver.recommend()
    batch = solver.ask()
    solver.tell(batch, torch.ones(len(batch), dtype=F64))
    assert not torch.equal(solver.recommend(), before)


def test_a_failed_status_overrules_a_finite_value() -> None:
    solver = started(GradientSolver(CGE(1e-3), sgd(0.1)))
    batch = solver.ask()
    values = parabola(batch.points())
    figures = solver.tell(batch, values, info([0, 1, 0, 0, 0, 0, 0]))
    assert figures["missing"] == 1
    moved = solver.recommend() != 0.5
    assert moved.tolist() == [False, True, True, True, True, True]


def test_figures_tell_loss_gradient_and_rate() -> None:
    solver = started(GradientSolver(CGE(1e-5, "central"), sgd(0.25)))
    figures = advance(solver, 1)
    gradient = 2 * (0.5 - TARGET)
    assert figures["loss"] == pytest.approx(float(parabola(torch.full((1, 6), 0.5))), rel=1e-6)
    assert figures["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-6)
    assert (figures["lr"], figures["missing"]) == (0.25, 0.0)


# Ask and tell ---------------------------------------------------------------------------------------------------------


def test_asked_again_it_answers_the_same() -> None:
    solver = started(GradientSolver(RGE(q=3), sgd()))
    batch = solver.ask()
    assert solver.ask() is batch
    assert batch.context == 0
    solver.tell(batch, parabola(batch.points()))
    assert solver.ask().context == 1


def test_the_batch_does_not_share_memory_with_the_iterate() -> None:
    solver = started(GradientSolver(CGE(), sgd()))
    solver.ask().base.zero_()
    solver.recommend().zero_()
    assert solver.recommend().tolist() == [0.5] * 6


def test_calls_in_an_order_without_meaning() -> None:
    solver = GradientSolver(CGE(), sgd())
    for call in (solver.ask, solver.state_dict, lambda: solver.load_state_dict({})):
        with pytest.raises(AskTellOrder, match=r"call reset\(space, x0\) before"):
            call()
    started(solver)
    other: QueryBatch = DenseBatch.at(torch.zeros(1, 6, dtype=F64))
    with pytest.raises(AskTellOrder, match="the very batch that ask returned last"):
        solver.tell(other, torch.zeros(1))
    batch = solver.ask()
    solver.tell(batch, parabola(batch.points()))
    with pytest.raises(AskTellOrder, match="a batch is told once"):
        solver.tell(batch, parabola(batch.points()))


@pytest.mark.parametrize("values", [torch.zeros(6), torch.zeros(7, 1), torch.zeros(7).long(), [0.0] * 7])
def test_values_that_do_not_fit(values: Any) -> None:
    solver = started(GradientSolver(CGE(), sgd()))
    with pytest.raises(InvalidValues, match=r"values must be a floating-point tensor of shape \(7,\), got"):
        solver.tell(solver.ask(), values)


def test_starts_that_do_not_fit() -> None:
    solver = GradientSolver(CGE(), sgd())
    with pytest.raises(InvalidStart, match="got nan in coordinate 1"):
        solver.reset(zotoolkit.make_space(2), torch.tensor([0.0, float("nan")]))
    with pytest.raises(InvalidSpace, match=r"must be a gymnasium.spaces.Box"):
        solver.reset((0, 1), torch.zeros(2))
    with pytest.raises(InvalidSetting, match="seed must be an integer"):
        solver.reset(zotoolkit.make_space(2), torch.zeros(2), seed=-1)


def test_reset_starts_a_new_run() -> None:
    solver = started(GradientSolver(RGE(q=3), OPTIMIZERS["Adam"]), seed=2)
    advance(solver, 5)
    first = solver.recommend()
    started(solver, seed=2)
    advance(solver, 5)
    assert torch.equal(solver.recommend(), first)
    started(solver, seed=3)
    advance(solver, 5)
    assert not torch.equal(solver.recommend(), first)


def test_states_that_do_not_fit() -> None:
    solver = started(GradientSolver(CGE(), sgd()))
    state = solver.state_dict()
    other = GradientSolver(CGE(), sgd())
    other.reset(zotoolkit.make_space(7, dtype="float64"), torch.zeros(7, dtype=F64))
    with pytest.raises(CheckpointMismatch, match="the state is of dim 6, this solver has 7"):
        other.load_state_dict(state)
    with pytest.raises(CheckpointMismatch, match="solver 'Another', this solver has 'GradientSolver'"):
        solver.load_state_dict({**state, "solver": "Another"})
    with pytest.raises(CheckpointMismatch, match=r"it lacks \['dim', 'finished'"):
        solver.load_state_dict({"solver": "GradientSolver"})


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    advance(started(GradientSolver(RGE(q=3), sgd(), mask=UniformMask(0.5))), 3)
    assert torch.equal(torch.get_rng_state(), before)
