"""Solvers of the defense family, with plain numbers as settings.

| id | gradient of the loss with respect to | then |
|---|---|---|
| Defense/DS-MSE-v0 | nothing: the denoiser as pre-trained | no query |
| Defense/FO-DS-v0, Defense/FO-AE-DS-v0 | all, by back-propagation | an upper bound, of torch modules only |
| Defense/ZO-DS-v0 | the denoiser's output | autograd below |
| Defense/ZO-AE-DS-v0 | the latent, the decoder being part of the black box | autograd below |

The undefended classifier stands beside each in `final_metrics`; `ZO/DeepZero-v0` queries the parameters themselves.
Source: Zhang et al., How to Robustify Black-Box ML Models? A Zeroth-Order Optimization Perspective, ICLR 2022;
Salman et al., Denoised Smoothing, NeurIPS 2020.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.estimators import CGE, RGE
from zotoolkit.queries import DenseBatch, QueryBatch
from zotoolkit.solvers.base import Solver
from zotoolkit.solvers.gradient import OptimizerFactory
from zotoolkit.solvers.inner_gradient import InnerGradientSolver
from zotoolkit.solvers.recipes import schedule_named

ESTIMATORS = ("rge", "cge")
ITERATIONS = 800


class Untrained(Solver):
    """Stands by the start point: what pre-training reached without a query. One query tells its loss."""

    @override
    def _start(self) -> None:
        pass

    @override
    def _ask(self) -> QueryBatch:
        return DenseBatch.at(self.x0[None], self.iteration)

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        self.finished = True
        return {"loss": float(values[0])}

    @override
    def recommend(self) -> Tensor:
        return self.x0.clone()

    @override
    def _state(self) -> dict[str, Any]:
        return {}


def zo_ae_ds(
    lr: float = 1e-3,
    q: int = 16,
    mu: float | None = None,
    estimator: str = "rge",
    difference: str = "central",
    law: str = "normal",
    schedule: str = "cosine",
    iterations: int = ITERATIONS,
) -> InnerGradientSolver:
    """Queries at the latent, autograd through encoder and denoiser.

    Args:
        lr: Of Adam.
        q: Directions an image and step, for "rge".
        mu: Smoothing parameter; None for what fits the classifier's access, with a probe at the start.
        estimator: "rge" along random directions, or "cge" along all coordinates of the latent.
        difference: "central" or "forward".
        law: Of the random directions: "normal", "rademacher" or "sphere".
        schedule: "constant", "cosine" or "linear".
        iterations: Steps, over which the schedule falls to 0.
    """
    return _at("latent", lr, q, mu, estimator, difference, law, schedule, iterations)


def zo_ds(
    lr: float = 1e-3,
    q: int = 16,
    mu: float | None = None,
    estimator: str = "rge",
    difference: str = "central",
    law: str = "normal",
    schedule: str = "cosine",
    iterations: int = ITERATIONS,
) -> InnerGradientSolver:
    """Queries at the image that the classifier sees, autograd below; settings as in `zo_ae_ds`."""
    return _at("output", lr, q, mu, estimator, difference, law, schedule, iterations)


def first_order(lr: float = 1e-3, schedule: str = "cosine", iterations: int = ITERATIONS) -> InnerGradientSolver:
    """Back-propagation through the classifier too: no zeroth-order solver, but the line that those are held against.

    Args:
        lr: Of Adam.
        schedule: As in `zo_ae_ds`.
        iterations: Steps.
    """
    return InnerGradientSolver("classifier", None, _adam(lr), schedule_named(schedule, iterations), iterations)


def _at(
    place: str,
    lr: float,
    q: int,
    mu: float | None,
    estimator: str,
    difference: Any,
    law: str,
    schedule: str,
    iterations: int,
) -> InnerGradientSolver:
    check_choice(estimator, ESTIMATORS, "estimator")
    check_count(q, "q")

    def differences(fitting: float) -> CGE | RGE:
        if estimator == "cge":
            return CGE(mu=fitting, difference=difference)
        return RGE(mu=fitting, q=q, difference=difference, law=law)

    given = differences(check_positive(5e-3 if mu is None else mu, "mu"))  # wrong settings are told at once
    chosen = differences if mu is None else given
    return InnerGradientSolver(place, chosen, _adam(lr), schedule_named(schedule, iterations), iterations)


def _adam(lr: float) -> OptimizerFactory:
    return functools.partial(torch.optim.Adam, lr=check_positive(lr, "lr"))
