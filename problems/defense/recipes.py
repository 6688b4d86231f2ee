"""Solvers of the defense family, with plain numbers as settings.

| id | gradient of the loss with respect to | then |
|---|---|---|
| Defense/DS-MSE-v0 | nothing: the denoiser as pre-trained | no query |
| Defense/FO-DS-v0, Defense/FO-AE-DS-v0 | all, by back-propagation | an upper bound, of torch modules only |
| Defense/ZO-DS-v0 | the denoiser's output | autograd below |
| Defense/ZO-AE-DS-v0 | the latent, the decoder being part of the black box | autograd below |

The undefended classifier stands beside each in `final_metrics`; `ZO/DeepZero-v0` queries the parameters themselves.
Those with AE in their name want a problem with an auto-encoder (its `latent` above 0), those with DS alone one without
(`latent=0`): a solver that finds the other says so, since its figures would stand under the wrong name.
Source: Zhang et al., How to Robustify Black-Box ML Models? A Zeroth-Order Optimization Perspective, ICLR 2022;
Salman et al., Denoised Smoothing, NeurIPS 2020.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import InvalidSetting
from zotoolkit.estimators import CGE, RGE
from zotoolkit.inner import HasInner
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.solvers.gradient import OptimizerFactory
from zotoolkit.solvers.inner_gradient import InnerGradientSolver
from zotoolkit.solvers.recipes import schedule_named
from zotoolkit.solvers.start_point import StartPoint

ESTIMATORS = ("rge", "cge")
ITERATIONS = 800


class Untrained(StartPoint):
    """Stands by the start point: what pre-training reached without a query.

    Args:
        autoencoder: Whether the problem must have an auto-encoder: False is DS-MSE, None takes either.
    """

    def __init__(self, autoencoder: bool | None = False) -> None:
        super().__init__()
        self._autoencoder = autoencoder

    @override
    def attach(self, objective: BlackBoxObjective) -> None:
        """Look whether the problem has what the name promises.

        Raises:
            InvalidSetting: If it has an auto-encoder and should not, or the other way round.
        """
        _check_mode(objective, self._autoencoder)


class InFront(InnerGradientSolver):
    """An `InnerGradientSolver` of problems with, or of those without an auto-encoder."""

    def __init__(self, autoencoder: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._autoencoder = autoencoder

    @override
    def attach(self, objective: BlackBoxObjective) -> None:
        """Take the objective.

        Raises:
            InvalidSetting: If it has an auto-encoder and should not, or the other way round, or as in
                `InnerGradientSolver`.
        """
        _check_mode(objective, self._autoencoder)
        super().attach(objective)


def _check_mode(objective: BlackBoxObjective, autoencoder: bool | None) -> None:
    inner = objective.unwrapped
    if autoencoder is None or not isinstance(inner, HasInner) or ("latent" in inner.inner_places) == autoencoder:
        return
    raise InvalidSetting(
        "this solver is for a denoiser with an auto-encoder behind it: make the problem with latent above 0, or take "
        "one without AE in its name."
        if autoencoder
        else "this solver is for a denoiser alone: make the problem with latent=0, or take one with AE in its name."
    )


def zo_ae_ds(
    lr: float = 3e-3,
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
    return _at("latent", True, lr, q, mu, estimator, difference, law, schedule, iterations)


def zo_ds(
    lr: float = 3e-3,
    q: int = 16,
    mu: float | None = None,
    estimator: str = "rge",
    difference: str = "central",
    law: str = "normal",
    schedule: str = "cosine",
    iterations: int = ITERATIONS,
) -> InnerGradientSolver:
    """Queries at the image that the classifier sees, autograd below; settings as in `zo_ae_ds`."""
    return _at("output", False, lr, q, mu, estimator, difference, law, schedule, iterations)


def fo_ds(lr: float = 1e-3, schedule: str = "cosine", iterations: int = ITERATIONS) -> InnerGradientSolver:
    """Back-propagation through the classifier too: no zeroth-order solver, but the line that those are held against.

    Args:
        lr: Of Adam.
        schedule: As in `zo_ae_ds`.
        iterations: Steps.
    """
    return InFront(False, "classifier", None, _adam(lr), schedule_named(schedule, iterations), iterations)


def fo_ae_ds(lr: float = 1e-3, schedule: str = "cosine", iterations: int = ITERATIONS) -> InnerGradientSolver:
    """The same with encoder and decoder; settings as in `fo_ds`."""
    return InFront(True, "classifier", None, _adam(lr), schedule_named(schedule, iterations), iterations)


def _at(
    place: str,
    autoencoder: bool,
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
    return InFront(autoencoder, place, chosen, _adam(lr), schedule_named(schedule, iterations), iterations)


def _adam(lr: float) -> OptimizerFactory:
    return functools.partial(torch.optim.Adam, lr=check_positive(lr, "lr"))
