"""Gradient-based zeroth-order solvers, as a composition: estimator x torch optimiser x schedule x mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.estimators.base import Estimator
from zotoolkit.masks.base import Mask
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.solvers.base import Solver
from zotoolkit.structure import Structure

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[Any], LRScheduler]


class GradientSolver(Solver):
    """Descends an estimated gradient.

    In a bounded space the iterate is projected after every step onto the box, shrunk by the estimator's margin so that
    no query leaves it.

    Args:
        estimator: Makes queries and turns their values into a gradient.
        optimizer: Called with the parameters, returns a torch optimiser: `functools.partial(torch.optim.SGD, lr=0.1)`.
        scheduler: Called with the optimiser, returns a learning-rate scheduler, stepped once an iteration.
        mask: Which coordinates are estimated; None for all.

    Raises:
        InvalidSetting: If one of them is not what it should be.

    Examples:
        >>> import functools, zotoolkit
        >>> solver = GradientSolver(zotoolkit.CGE(mu=1e-3), functools.partial(torch.optim.SGD, lr=0.1))
        >>> objective = zotoolkit.make("Functions/Sphere-v0", dim=3)
        >>> result = zotoolkit.minimize(objective, solver, budget=400, progress=False)
        >>> bool(result.value < 1e-3)
        True
    """

    def __init__(
        self,
        estimator: Estimator,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        mask: Mask | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(estimator, Estimator):
            raise InvalidSetting(f"estimator must be an Estimator such as CGE(mu=5e-3), got {brief(estimator)}.")
        if not callable(optimizer):
            raise InvalidSetting(
                "optimizer must be called with the parameters and return a torch optimiser, such as "
                f"functools.partial(torch.optim.SGD, lr=0.1), got {brief(optimizer)}."
            )
        if scheduler is not None and not callable(scheduler):
            raise InvalidSetting(
                "scheduler must be called with the optimiser and return a learning-rate scheduler, such as "
                f"functools.partial(torch.optim.lr_scheduler.StepLR, step_size=100), got {brief(scheduler)}."
            )
        if mask is not None and not isinstance(mask, Mask):
            raise InvalidSetting(f"mask must be a Mask such as UniformMask(keep=0.1), got {brief(mask)}.")
        self.estimator = estimator
        self.mask = mask
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._structure = Structure()

    @override
    def attach(self, objective: BlackBoxObjective) -> None:
        """Hear how the objective's coordinates form layers, for masks and estimators that work layer by layer."""
        self._structure = Structure.of(objective)

    @override
    def _start(self) -> None:
        # What the user composed stays as it is, so that the same solver can run on another objective.
        self._estimator = self.estimator.prepared(self._structure, self.dim)
        self._mask = None if self.mask is None else self.mask.prepared(self._structure, self.x0)
        self._x = torch.nn.Parameter(self.x0.clone())
        self._optimizer = self._make_optimizer([self._x])
        if not isinstance(self._optimizer, torch.optim.Optimizer):
            raise InvalidSetting(f"optimizer must return a torch optimiser, got {brief(self._optimizer)}.")
        if isinstance(self._optimizer, torch.optim.LBFGS):
            raise InvalidSetting(
                "torch.optim.LBFGS re-evaluates the loss inside a step, which a query budget cannot see."
            )
        self._scheduler = None if self._make_scheduler is None else self._make_scheduler(self._optimizer)
        self._project()

    @override
    def _ask(self) -> QueryBatch:
        alive = None if self._mask is None else self._mask.alive(self.dim, self._step, self.seed).to(self._x.device)
        return self._estimator.queries(self.recommend(), alive, self._step, self.seed, self.bounds)

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        estimate = self._estimator.gradient(batch, values, usable)
        figures = {
            "loss": estimate.loss,
            "gradient_norm": float(torch.linalg.vector_norm(estimate.gradient)),
            "lr": float(self._optimizer.param_groups[0]["lr"]),
            "missing": float(estimate.missing),
        }
        informed = not estimate.missing or bool(estimate.gradient.any())
        if informed and torch.isfinite(estimate.gradient).all():
            self._x.grad = estimate.gradient.to(self._x)
            self._optimizer.step()
            self._x.grad = None
            self._advance_schedule(estimate.loss)
        self._project()
        return figures

    @override
    def recommend(self) -> Tensor:
        return self._x.detach().clone()

    @override
    def _state(self) -> dict[str, Any]:
        return {
            "x": self._x.detach().clone(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
        }

    @override
    def _load(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self._x.copy_(state["x"])
        self._optimizer.load_state_dict(state["optimizer"])
        # torch casts what it loads to the parameter's dtype; NAdam and ASGD keep float32 scalars, which must stay so.
        for entries in state["optimizer"]["state"].values():
            held = self._optimizer.state[self._x]
            held.update({k: v.to(held[k].device) for k, v in entries.items() if isinstance(v, Tensor)})
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])

    def _advance_schedule(self, loss: float) -> None:
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(loss)
        elif self._scheduler is not None:
            self._scheduler.step()

    @property
    def _step(self) -> int:
        """Which context, mask and smoothing are used; a solver that does something else first counts from there."""
        return self.iteration

    def _project(self) -> None:
        margin = self._check_room(self._estimator)
        with torch.no_grad():
            self._x.copy_(self.bounds.project(self._x, margin))

    def _check_room(self, estimator: Estimator) -> float:
        """Return how far inside the bounds the estimator needs its base point.

        Raises:
            InvalidSetting: If the box is too narrow for its queries.
        """
        margin, reach = estimator.margin(self._step), estimator.reach(self._step)
        room = self.bounds.shrunk(reach)
        narrow = torch.nonzero(room.low > room.high)
        if len(narrow):
            i, (low, high) = int(narrow[0]), self.bounds
            raise InvalidSetting(
                f"mu is too large for the bounds [{low[i].item():g}, {high[i].item():g}] of coordinate {i}: "
                f"queries reach {reach:g} to either side; choose a smaller mu."
            )
        return margin
