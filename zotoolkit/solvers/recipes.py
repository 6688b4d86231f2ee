"""Named recipes: compositions that the field knows by name, with plain numbers as settings.

Each is a registry entry of the family `ZO`, so the command line reaches all their settings.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LambdaLR

from zotoolkit.checks import check_choice, check_count, check_least, check_momentum, check_positive
from zotoolkit.errors import InvalidSetting
from zotoolkit.estimators import CGE, RGE, FittingMu, PowerDecay
from zotoolkit.estimators.base import Difference
from zotoolkit.estimators.rge import Normalization
from zotoolkit.masks import UniformMask
from zotoolkit.optimizers import SignSGD
from zotoolkit.solvers.deep_zero import DeepZero
from zotoolkit.solvers.gradient import GradientSolver, OptimizerFactory, SchedulerFactory
from zotoolkit.solvers.reference import FirstOrderReference
from zotoolkit.solvers.zo_grasp import ZOGrasp

SCHEDULES = ("constant", "cosine", "linear")


def schedule_named(name: str, iterations: int | None) -> SchedulerFactory | None:
    """Return a factory of a schedule that falls to 0 over the iterations and stays there."""
    check_choice(name, SCHEDULES, "schedule")
    if name == "constant":
        return None
    if iterations is None:
        raise InvalidSetting(f"schedule={name!r} needs iterations, the number of steps over which the rate falls to 0.")
    total = check_count(iterations, "iterations")

    return functools.partial(LambdaLR, lr_lambda=lambda step: schedule_factor(name, step / total))


def schedule_factor(name: str, share: float) -> float:
    """Return what a schedule multiplies the rate by when this share of it is over.

    Examples:
        >>> [schedule_factor(name, 0.5) for name in SCHEDULES]
        [1.0, 0.5, 0.5]
    """
    share = min(share, 1.0)
    if name == "constant":
        return 1.0
    return (1 + math.cos(math.pi * share)) / 2 if name == "cosine" else 1 - share


def _smoothing(mu: float | None) -> float | FittingMu:
    return FittingMu() if mu is None else mu


def _mask(keep: float | None, refresh: int) -> UniformMask | None:
    return None if keep is None else UniformMask(keep, refresh)


def _sgd(lr: float, momentum: float, weight_decay: float) -> OptimizerFactory:
    check_positive(lr, "lr")
    check_momentum(momentum)
    check_least(weight_decay, 0.0, "weight_decay")
    return functools.partial(torch.optim.SGD, lr=lr, momentum=momentum, weight_decay=weight_decay)


def sgd_cge(
    lr: float = 0.1,
    mu: float | None = None,
    difference: Difference = "forward",
    subset: int | None = None,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    iterations: int | None = None,
    keep: float | None = None,
    refresh: int = 1,
) -> GradientSolver:
    """ZO-SGD with coordinate-wise estimates.

    Args:
        lr: Learning rate.
        mu: Smoothing parameter; None for the one that the objective names as fitting, else 5e-3.
        difference: "forward" or "central".
        subset: Coordinates an iteration, drawn anew each time; None for all.
        momentum: Of SGD.
        weight_decay: Of SGD.
        schedule: "constant", "cosine" or "linear".
        iterations: Over how many steps the schedule falls to 0.
        keep: Share of coordinates that a random mask keeps alive; None for no mask.
        refresh: Iterations between two draws of the mask.
    """
    estimator = CGE(_smoothing(mu), difference, subset)
    optimizer = _sgd(lr, momentum, weight_decay)
    return GradientSolver(estimator, optimizer, schedule_named(schedule, iterations), _mask(keep, refresh))


def sgd_rge(
    lr: float = 0.01,
    mu: float | None = None,
    q: int = 10,
    difference: Difference = "forward",
    law: str = "normal",
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    iterations: int | None = None,
    keep: float | None = None,
    refresh: int = 1,
) -> GradientSolver:
    """ZO-SGD with randomised estimates; settings as in `sgd_cge`, q directions of the law an iteration."""
    estimator = RGE(_smoothing(mu), q, difference, law)
    optimizer = _sgd(lr, momentum, weight_decay)
    return GradientSolver(estimator, optimizer, schedule_named(schedule, iterations), _mask(keep, refresh))


def deep_zero(
    lr: float = 0.1,
    mu: float | None = None,
    difference: Difference = "forward",
    sparsity: float = 0.9,
    scores: str = "zo-grasp",
    q: int = 192,
    normalize: Normalization = "per-tensor",
    least: int = 1,
    refresh: int | None = None,
    refresh_epochs: int | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    warmup: float = 0.06,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> DeepZero:
    """DeepZero's Algorithm 1: layer-wise keep ratios by ZO-GraSP, then SGD on sparse coordinate-wise estimates.

    Args:
        lr: Learning rate at the top of the schedule.
        mu: Smoothing parameter of scores and training; None as in `sgd_cge`.
        difference: "forward" or "central".
        sparsity: Share of convolution and linear weights that is not alive, in [0, 1).
        scores: "zo-grasp", "magnitude" or "random".
        q: Directions of each of ZO-GraSP's two estimates.
        normalize: Of these directions: "per-tensor", "global" or "none".
        least: How many weights every layer keeps at least.
        refresh: Iterations between two draws of the live coordinates; None for an epoch.
        refresh_epochs: Epochs between two draws instead; the authors' program has 5.
        epochs: Length of the schedule; None for 50, or what the budget pays for.
        iterations: Length of the schedule in steps instead.
        warmup: Share of the schedule in which the rate rises.
        momentum: Of SGD.
        weight_decay: Of SGD.

    Source: Chen et al., DeepZero, ICLR 2024, Algorithm 1.
    """
    return DeepZero(
        _sgd(lr, momentum, weight_decay),
        CGE(_smoothing(mu), difference),
        sparsity=sparsity,
        scores=scores,
        grasp=ZOGrasp(_smoothing(mu), q, normalize),
        least=least,
        refresh=refresh,
        refresh_epochs=refresh_epochs,
        epochs=epochs,
        iterations=iterations,
        warmup=warmup,
    )


def adam_cge(
    lr: float = 1e-2,
    mu: float | None = None,
    difference: Difference = "forward",
    subset: int | None = None,
    schedule: str = "constant",
    iterations: int | None = None,
) -> GradientSolver:
    """ZO-Adam with coordinate-wise estimates; settings as in `sgd_cge`."""
    optimizer = functools.partial(torch.optim.Adam, lr=check_positive(lr, "lr"))
    return GradientSolver(CGE(_smoothing(mu), difference, subset), optimizer, schedule_named(schedule, iterations))


def adam_rge(
    lr: float = 1e-2,
    mu: float | None = None,
    q: int = 10,
    difference: Difference = "forward",
    law: str = "normal",
    schedule: str = "constant",
    iterations: int | None = None,
) -> GradientSolver:
    """ZO-Adam with randomised estimates; settings as in `sgd_rge`."""
    optimizer = functools.partial(torch.optim.Adam, lr=check_positive(lr, "lr"))
    return GradientSolver(RGE(_smoothing(mu), q, difference, law), optimizer, schedule_named(schedule, iterations))


def sign_sgd(
    lr: float = 1e-3,
    mu: float | None = None,
    q: int = 10,
    difference: Difference = "forward",
    law: str = "normal",
    momentum: float = 0.0,
    schedule: str = "constant",
    iterations: int | None = None,
) -> GradientSolver:
    """ZO-signSGD: randomised estimates, a step of lr in every coordinate.

    Source: Liu et al., signSGD via zeroth-order oracle, ICLR 2019.
    """
    optimizer = functools.partial(SignSGD, lr=check_positive(lr, "lr"), momentum=check_momentum(momentum))
    return GradientSolver(RGE(_smoothing(mu), q, difference, law), optimizer, schedule_named(schedule, iterations))


def spsa(
    a: float = 0.1,
    c: float = 0.1,
    stability: float = 100.0,
    alpha: float = 0.602,
    gamma: float = 0.101,
    q: int = 1,
) -> GradientSolver:
    """Simultaneous perturbation stochastic approximation, with Spall's gain sequences.

        x_{k+1} = x_k - a_k g_k,   a_k = a / (stability + k + 1)^alpha,   c_k = c / (k + 1)^gamma

    Args:
        a: Step gain.
        c: Perturbation at iteration 0, in units of x.
        stability: Spall's A, about a tenth of the planned iterations.
        alpha: Exponent of the step gain.
        gamma: Exponent of the perturbation.
        q: Two-sided differences averaged an iteration.

    Source: Spall, IEEE Trans. Aerospace and Electronic Systems 34(3), 1998.
    """
    check_positive(a, "a")
    check_least(stability, 0.0, "stability")
    check_positive(alpha, "alpha")
    estimator = RGE(PowerDecay(c, gamma), q, "central", "rademacher")
    gain: Callable[[int], float] = lambda k: 1 / (stability + k + 1) ** alpha  # noqa: E731
    return GradientSolver(
        estimator, functools.partial(torch.optim.SGD, lr=a), functools.partial(LambdaLR, lr_lambda=gain)
    )


def reference_sgd(
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    iterations: int | None = None,
) -> FirstOrderReference:
    """SGD by back-propagation, no zeroth-order solver: the line that `sgd_cge` is measured against.

    Args:
        lr: Learning rate.
        momentum: Of SGD.
        weight_decay: Of SGD.
        schedule: "constant", "cosine" or "linear".
        iterations: After how many it has finished, and over how many the schedule falls to 0.
    """
    return FirstOrderReference(_sgd(lr, momentum, weight_decay), schedule_named(schedule, iterations), iterations)


def reference_adam(lr: float = 1e-2, schedule: str = "constant", iterations: int | None = None) -> FirstOrderReference:
    """Adam by back-propagation, no zeroth-order solver; settings as in `reference_sgd`."""
    optimizer = functools.partial(torch.optim.Adam, lr=check_positive(lr, "lr"))
    return FirstOrderReference(optimizer, schedule_named(schedule, iterations), iterations)
