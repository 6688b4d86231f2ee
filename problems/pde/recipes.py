"""Solvers of the PDE family, with plain numbers as settings: the training modes of a corrector.

| id | what goes backward through the simulator | needs of the simulator |
|---|---|---|
| PDE/SRC-v0 | nothing is trained: the simulator all but alone | |
| PDE/NON-v0 | nothing: single steps from reference states | steps, beforehand |
| PDE/Detached-v0 | nothing: unrolled, without gradients in time | steps |
| PDE/Hybrid-v0 | estimates from queries around each state; back-propagation through the corrector | steps |
| PDE/ZO-SOL-v0 | nothing: queries on the corrector's parameters, all of them or random directions | steps |
| PDE/Sparse-ZO-SOL-v0 | the same, a sparse set of parameters at a time, with DeepZero's ratios | steps |
| PDE/FO-SOL-v0 | back-propagation | its gradient |

All descend by Adam with a cosine schedule, on gradients brought to length 1. Any other solver can take their place.

Source: Um et al., Solver-in-the-Loop, NeurIPS 2020 (SRC, NON, SOL); Chen et al., DeepZero, ICLR 2024; List et al.,
arXiv 2402.12971 (no gradients in time).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from problems.pde.unrolling import DETACHED, ONE_STEP, SIMULATOR, STATE
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import InvalidSetting
from zotoolkit.estimators import CGE, RGE, FittingMu
from zotoolkit.estimators.base import Difference, Estimator
from zotoolkit.optimizers import normalized
from zotoolkit.queries import QueryBatch
from zotoolkit.solvers.deep_zero import DeepZero
from zotoolkit.solvers.gradient import GradientSolver, OptimizerFactory
from zotoolkit.solvers.inner_gradient import DifferencesAt, InnerGradientSolver
from zotoolkit.solvers.recipes import SCHEDULES, schedule_factor, schedule_named
from zotoolkit.solvers.start_point import StartPoint
from zotoolkit.solvers.zo_grasp import ZOGrasp

ESTIMATORS = ("cge", "rge")


class Scheduled(GradientSolver):
    """A `GradientSolver` that has finished after so many iterations, or those that the budget pays for.

    Args:
        estimator: As in `GradientSolver`.
        optimizer: As in `GradientSolver`.
        schedule: "constant", "cosine" or "linear", over the iterations.
        iterations: How many; None for as many as the budget pays for, which `minimize` tells.
    """

    def __init__(
        self, estimator: Estimator, optimizer: OptimizerFactory, schedule: str, iterations: int | None
    ) -> None:
        super().__init__(estimator, optimizer, self._falling)
        self._schedule = check_choice(schedule, SCHEDULES, "schedule")
        self._iterations = None if iterations is None else check_count(iterations, "iterations")

    @override
    def plan(self, budget: int) -> None:
        """Take the budget that the iterations follow from, if none were given."""
        if self._iterations is None:
            each = len(self._estimator.queries(self.x0, None, 0, self.seed, self.bounds))
            self._length = max(1, budget // each)

    @override
    def _start(self) -> None:
        self._length = self._iterations
        super()._start()

    @override
    def _ask(self) -> QueryBatch:
        if self._length is None and self._schedule != "constant":
            raise InvalidSetting(
                f"schedule={self._schedule!r} needs iterations, or a budget: minimize tells it, other loops call "
                "solver.plan(budget) after reset."
            )
        return super()._ask()

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        figures = super()._tell(batch, values, usable)
        self.finished = self._length is not None and self.iteration + 1 >= self._length
        return figures

    def _falling(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        return LambdaLR(optimizer, lambda step: schedule_factor(self._schedule, step / (self._length or 1)))


def src() -> StartPoint:
    """The simulator with the corrector as initialised, which changes it little."""
    return StartPoint()


def non(
    lr: float = 1e-2, normalize: bool = True, schedule: str = "cosine", iterations: int = 3000
) -> InnerGradientSolver:
    """Single steps from reference states: the simulator is stepped beforehand and never in the loop.

    Args:
        lr: Of Adam.
        normalize: Whether Adam sees every gradient at length 1.
        schedule: "constant", "cosine" or "linear".
        iterations: Steps, over which the schedule falls to 0.
    """
    return _inner(ONE_STEP, None, lr, normalize, schedule, iterations)


def detached(
    lr: float = 1e-2, normalize: bool = True, schedule: str = "cosine", iterations: int = 300
) -> InnerGradientSolver:
    """Unrolled trajectories whose gradient stops at each step of the simulator; settings as in `non`."""
    return _inner(DETACHED, None, lr, normalize, schedule, iterations)


def hybrid(
    lr: float = 3e-3,
    q: int = 64,
    mu: float | None = None,
    estimator: str = "rge",
    difference: Difference = "central",
    law: str = "rademacher",
    normalize: bool = True,
    schedule: str = "cosine",
    iterations: int = 300,
) -> InnerGradientSolver:
    """Queries for the simulator's Jacobian products alone, autograd for the corrector.

    Args:
        lr: As in `non`, like normalize, schedule and iterations.
        q: Directions a state and step, for "rge".
        mu: Smoothing parameter in units of a state's entries; None for what fits the simulator's accuracy.
        estimator: "rge" along random directions, or "cge" along all entries of a state.
        difference: "central" or "forward".
        law: Of the random directions: "normal", "rademacher" or "sphere".
        normalize: Whether Adam sees every gradient at length 1.
        schedule: "constant", "cosine" or "linear".
        iterations: Steps.
    """
    check_choice(estimator, ESTIMATORS, "estimator")

    def differences(fitting: float) -> CGE | RGE:
        return CGE(fitting, difference) if estimator == "cge" else RGE(fitting, q, difference, law)

    given = differences(check_positive(1e-3 if mu is None else mu, "mu"))  # wrong settings are told at once
    return _inner(STATE, differences if mu is None else given, lr, normalize, schedule, iterations)


def zo_sol(
    lr: float = 1e-2,
    mu: float | None = None,
    estimator: str = "cge",
    difference: Difference = "forward",
    q: int = 278,
    law: str = "normal",
    subset: int | None = None,
    normalize: bool = True,
    schedule: str = "cosine",
    iterations: int | None = None,
) -> Scheduled:
    """Queries on the corrector's parameters: solver in the loop without any gradient.

    Args:
        lr: As in `non`, like normalize, schedule and iterations.
        mu: Smoothing parameter; None for what fits the simulator's accuracy.
        estimator: "cge" along all parameters, or "rge" along random directions.
        difference: "forward" or "central".
        q: Directions, for "rge".
        law: Of the random directions.
        subset: Parameters an iteration, drawn anew each time, for "cge"; None for all.
        normalize: Whether Adam sees every gradient at length 1.
        schedule: "constant", "cosine" or "linear".
        iterations: Steps; None for as many as the budget pays for.
    """
    check_choice(estimator, ESTIMATORS, "estimator")
    smoothing = FittingMu() if mu is None else mu
    chosen = CGE(smoothing, difference, subset) if estimator == "cge" else RGE(smoothing, q, difference, law)
    return Scheduled(chosen, _adam(lr, normalize), schedule, iterations)


def sparse_zo_sol(
    lr: float = 1e-3,
    mu: float | None = None,
    difference: Difference = "forward",
    sparsity: float = 0.9,
    scores: str = "zo-grasp",
    q: int = 192,
    refresh: int = 1,
    warmup: float = 0.0,
    normalize: bool = True,
    iterations: int = 1200,
) -> DeepZero:
    """DeepZero's algorithm on the corrector, with Adam: a sparse random set of parameters at a time.

    Args:
        lr: As in `non`, like normalize and iterations.
        mu: Smoothing parameter; None for what fits the simulator's accuracy.
        difference: "forward" or "central".
        sparsity: Share of the weights that is not asked about in an iteration.
        scores: Of the layers' shares: "zo-grasp", "magnitude" or "random".
        q: Directions of each of ZO-GraSP's two estimates.
        refresh: Iterations between two draws of the set. Adam keeps its moments for each parameter, so sets that change
            often serve it well.
        warmup: Share of the schedule in which the rate rises.
        normalize: Whether Adam sees every gradient at length 1.
        iterations: Steps.
    """
    smoothing = FittingMu() if mu is None else mu
    return DeepZero(
        _adam(lr, normalize),
        CGE(smoothing, difference),
        sparsity=sparsity,
        scores=scores,
        grasp=ZOGrasp(smoothing if isinstance(smoothing, FittingMu) else float(smoothing), q),
        refresh=refresh,
        iterations=iterations,
        warmup=warmup,
    )


def fo_sol(
    lr: float = 1e-2, normalize: bool = True, schedule: str = "cosine", iterations: int = 300
) -> InnerGradientSolver:
    """Back-propagation through simulator and corrector: not zeroth-order, but the line that those are held against.

    Settings as in `non`.
    """
    return _inner(SIMULATOR, None, lr, normalize, schedule, iterations)


def _inner(
    place: str, differences: DifferencesAt, lr: float, normalize: bool, schedule: str, iterations: int
) -> InnerGradientSolver:
    return InnerGradientSolver(
        place,
        differences,
        _adam(lr, normalize),
        schedule_named(schedule, iterations),
        iterations,
        first_order=place == SIMULATOR,
    )


def _adam(lr: float, normalize: bool) -> OptimizerFactory:
    adam = functools.partial(torch.optim.Adam, lr=check_positive(lr, "lr"))
    return normalized(adam) if normalize else adam
