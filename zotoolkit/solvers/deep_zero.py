"""DeepZero's training loop: layer-wise keep ratios by ZO-GraSP, then sparse coordinate-wise descent.

    1. score every weight at the start point (two batches of random-direction queries on one mini-batch)
    2. keep the top (1 - s) of all scores; count them in each layer: its keep ratio
    3. every `refresh` iterations draw a random set S_t that has these ratios
    4. every iteration estimate the partial derivatives in S_t by finite differences; take a step of SGD

The model stays dense, only the gradient is sparse.

Source: Chen et al., DeepZero: scaling up zeroth-order optimization for deep model training, ICLR 2024, Algorithm 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count, check_least
from zotoolkit.errors import AskTellOrder, InvalidSetting, ScheduleWarning
from zotoolkit.estimators import CGE
from zotoolkit.masks.layerwise import LayerwiseRandomMask
from zotoolkit.masks.ratios import check_sparsity, kept_count, maskable_slots, score_ratios, uniform_ratios
from zotoolkit.masks.scores import magnitude_scores
from zotoolkit.queries import QueryBatch
from zotoolkit.solvers.gradient import GradientSolver, OptimizerFactory
from zotoolkit.solvers.warmup_cosine import warmup_cosine
from zotoolkit.solvers.zo_grasp import ZOGrasp, formed
from zotoolkit.structure import fitting, one_layer

SCORES = ("zo-grasp", "magnitude", "random")
EPOCHS = 50  # of the paper


class DeepZero(GradientSolver):
    """Algorithm 1 of DeepZero. Layers are the objective's `layout`; without one, all coordinates are one layer.

    The learning rate rises linearly, then falls to 0 as a cosine; with the schedule's end the solver is finished. The
    schedule has as many steps as `iterations` or `epochs` say. If neither is given, it is the paper's 50 epochs, or as
    many steps as the budget pays for if these are fewer or the objective knows no epochs; `minimize` tells the budget.

    Figures of every iteration: loss, gradient_norm, lr, missing, alive (coordinates estimated) and phase: 0 and 1 while
    the two estimates of ZO-GraSP are made, 2 in training. Training step k asks mini-batch k, the scores
    share the first.

    Args:
        optimizer: As in `GradientSolver`.
        estimator: Makes the sparse estimates.
        sparsity: Share of convolution and linear weights that is not alive, in [0, 1). At 0 nothing is scored.
        scores: "zo-grasp", "magnitude" (of the start point), or "random": the same ratio in every layer.
        grasp: How ZO-GraSP asks.
        least: How many weights every layer keeps at least. The authors keep none; but what no set S_t ever holds stays
            as initialised for the whole run.
        refresh: Iterations between two draws of S_t; None for an epoch, or a fiftieth of a schedule that is shorter
            than 50 epochs though none were asked for.
        refresh_epochs: Epochs between two draws instead.
        epochs: Length of the schedule; needs an objective that tells `metadata["batches_per_epoch"]`.
        iterations: Length of the schedule in steps instead.
        warmup: Share of the schedule in which the rate rises; the paper's 3 epochs of 50.

    Raises:
        InvalidSetting: If a setting is out of range.

    Attributes:
        ratios: Each layer's keep ratio by the parameter's name, once they are known.
    """

    ratios: Mapping[str, float] | None

    def __init__(
        self,
        optimizer: OptimizerFactory,
        estimator: CGE | None = None,
        *,
        sparsity: float = 0.9,
        scores: str = "zo-grasp",
        grasp: ZOGrasp | None = None,
        least: int = 1,
        refresh: int | None = None,
        refresh_epochs: int | None = None,
        epochs: int | None = None,
        iterations: int | None = None,
        warmup: float = 0.06,
    ) -> None:
        self._cge = CGE() if estimator is None else estimator
        super().__init__(self._cge, optimizer)
        self._scored = 0
        self.sparsity = check_sparsity(sparsity)
        self.scores = check_choice(scores, SCORES, "scores")
        self.grasp = ZOGrasp() if grasp is None else grasp
        self.least = check_count(least, "least", least=0)
        self.refresh = None if refresh is None else check_count(refresh, "refresh")
        self.refresh_epochs = None if refresh_epochs is None else check_count(refresh_epochs, "refresh_epochs")
        if refresh is not None and refresh_epochs is not None:
            raise InvalidSetting(f"give refresh or refresh_epochs, not both: got {refresh} and {refresh_epochs}.")
        self.epochs = None if epochs is None else check_count(epochs, "epochs")
        self.iterations = None if iterations is None else check_count(iterations, "iterations")
        if epochs is not None and iterations is not None:
            raise InvalidSetting(f"give epochs or iterations, not both: got {epochs} and {iterations}.")
        self.warmup = check_least(warmup, 0.0, "warmup")
        if self.warmup >= 1:
            raise InvalidSetting(f"warmup must be a share in [0, 1) of the schedule, got {warmup}.")

    @override
    def _start(self) -> None:
        # Batches told before training began, the attempt at scores, and the first estimate of ZO-GraSP.
        self._scored, self._attempt = 0, 0
        self._gradient: Tensor | None = None
        super()._start()
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        self._length = self._wanted()
        self._layout = fitting(self._structure.layout or one_layer(self.dim), self.dim)
        self._grasp = self.grasp.prepared(self._structure, self.dim)
        self.ratios = self._ratios_at_once()
        if self.ratios is None:
            self._check_room(self._grasp.estimator)

    def _ratios_at_once(self) -> Mapping[str, float] | None:
        """Return the ratios that take no queries; None for ZO-GraSP's."""
        if self.sparsity == 0:
            return {}
        if self.scores == "magnitude":
            return score_ratios(magnitude_scores(self.x0), self._layout, self.sparsity, self.least)
        if self.scores == "random":
            return uniform_ratios(self._layout, self.sparsity, self.least)
        return None

    @property
    def _alive(self) -> int:
        """How many coordinates a set S_t holds; the same whichever scores say which."""
        if self.sparsity == 0:
            return self.dim
        sizes = [slot.size for slot in maskable_slots(self._layout)]
        kept = max(kept_count(self._layout, self.sparsity), sum(min(self.least, size) for size in sizes))
        return self.dim - sum(sizes) + kept

    def _wanted(self) -> int | None:
        """Return how long the schedule is if nobody plans; None if that cannot be known."""
        epoch = self._structure.batches_per_epoch
        for name, count in (("epochs", self.epochs), ("refresh_epochs", self.refresh_epochs)):
            if count is not None and epoch is None:
                raise InvalidSetting(
                    f"{name}={count} needs an objective that tells metadata['batches_per_epoch'], in a loop of your "
                    "own by solver.attach(objective) before reset; where there are no epochs, count in iterations."
                )
        if self.iterations is not None:
            return self.iterations
        return None if epoch is None else epoch * (self.epochs or EPOCHS)

    @override
    def plan(self, budget: int) -> None:
        """Fit the schedule to the budget, or warn if a schedule that was asked for does not fit.

        Raises:
            InvalidSetting: If budget is below 1.
            AskTellOrder: If the run has begun already.
        """
        self._check_ready("plan")
        if self.iteration or self._asked is not None:
            raise AskTellOrder("plan is called after reset and before the first ask.")
        scoring = self._grasp.queries if self.ratios is None else 0
        estimated = min(self._alive, self._cge.subset or self._alive)
        each = 2 * estimated if self._cge.difference == "central" else estimated + 1
        paid = (check_count(budget, "budget") - scoring) // each
        asked = None if self.iterations is None and self.epochs is None else self._length
        if paid < 1:
            warnings.warn(
                f"{budget} queries do not pay for one step: scores take {scoring} and each step {each}; raise the "
                "budget or the sparsity, lower q, or use scores='random'.",
                ScheduleWarning,
                stacklevel=2,
            )
        elif asked is not None and paid < asked:
            warnings.warn(
                f"{budget} queries pay for {paid} of the schedule's {asked} steps, so the learning rate will not reach "
                "0; leave epochs and iterations out to fit the schedule to the budget.",
                ScheduleWarning,
                stacklevel=2,
            )
        if asked is None:
            self._length = max(1, paid if self._length is None else min(paid, self._length))

    @property
    @override
    def _step(self) -> int:
        return self.iteration - self._scored

    @override
    def _ask(self) -> QueryBatch:
        x = self.recommend()
        if self.ratios is not None:
            if self.sparsity > 0:
                self._mask = LayerwiseRandomMask(self.ratios, self._refreshed_every(), layout=self._layout)
            return super()._ask()
        if self._gradient is None:
            return self._grasp.first(x, self._attempt, self.seed, self.bounds)
        return self._grasp.second(x, self._gradient, self._attempt, self.seed, self.bounds)

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        if self.ratios is None:
            return self._take_estimate(batch, values, usable)
        length = self._known_length()
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * warmup_cosine(self._step, length, self.warmup)
        figures = super()._tell(batch, values, usable)
        self.finished = self._step + 1 >= length
        return figures | {"alive": float(self._alive), "phase": 2.0}

    def _take_estimate(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        """Take in one of ZO-GraSP's two estimates; one that fails altogether begins them anew on another mini-batch."""
        estimate = self._grasp.estimate(batch, values, usable)
        phase = 0.0 if self._gradient is None else 1.0
        self._scored += 1
        if not formed(estimate, self._grasp.q):
            self._gradient, self._attempt = None, self._attempt + 1
        elif self._gradient is None:
            self._gradient = estimate.gradient
        else:
            scores = self._grasp.scores(self.recommend(), self._gradient, estimate.gradient)
            self.ratios = score_ratios(scores, self._layout, self.sparsity, self.least)
            self._gradient = None
        norm = float(torch.linalg.vector_norm(estimate.gradient))
        return {
            "loss": estimate.loss,
            "gradient_norm": norm,
            "lr": 0.0,
            "missing": float(estimate.missing),
            "alive": float(self._alive),
            "phase": phase,
        }

    def _known_length(self) -> int:
        """Return how many steps the schedule has.

        Raises:
            InvalidSetting: If nobody has said.
        """
        if self._length is None:
            raise InvalidSetting(
                "DeepZero does not know how long to train: give iterations, call plan(budget) after reset, or, for "
                "epochs, attach an objective that tells metadata['batches_per_epoch']."
            )
        return self._length

    def _refreshed_every(self) -> int:
        if self.refresh is not None:
            return self.refresh
        if self.refresh_epochs is not None:
            return self.refresh_epochs * (self._structure.batches_per_epoch or 1)
        epoch, fiftieth = self._structure.batches_per_epoch, max(1, self._known_length() // EPOCHS)
        if epoch is None or self.epochs is not None:
            return epoch or fiftieth
        return min(epoch, fiftieth)

    @override
    def _state(self) -> dict[str, Any]:
        return {
            **super()._state(),
            "ratios": None if self.ratios is None else dict(self.ratios),
            "gradient": self._gradient,
            "scored": self._scored,
            "attempt": self._attempt,
            "length": self._length,
        }

    @override
    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self.ratios = state["ratios"]
        self._gradient = None if state["gradient"] is None else state["gradient"].to(self._x)
        self._scored, self._attempt, self._length = state["scored"], state["attempt"], state["length"]
