"""Every optimiser of nevergrad's registry as a solver.

    make_solver("Nevergrad/TwoPointsDE-v0", num_workers=32)

The parametrisation is `ng.p.Array(init=x0)`. In a box with all bounds finite it gets them, and nevergrad's own first
step of a sixth of each width. Nevergrad cannot bound some coordinates and leave others free; in such a space it
searches freely, as it does without bounds, and its points are clipped into the space before they are asked.

Source: Rapin and Teytaud, Nevergrad, https://github.com/facebookresearch/nevergrad, 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nevergrad as ng
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, MissingExtra, SolverFailed, brief, did_you_mean
from zotoolkit.queries import DenseBatch, QueryBatch
from zotoolkit.registration import EntrySpec
from zotoolkit.seeding import derive_seed
from zotoolkit.solvers.nevergrad_threads import NevergradCalls
from zotoolkit.solvers.replayed import ReplayedSolver
from zotoolkit.solvers.scales import free_scale
from zotoolkit.spaces import dtype_of

_MAKE, _ASK, _TELL, _RECOMMEND = range(4)


class NevergradSolver(ReplayedSolver):
    """Asks a nevergrad optimiser.

    An optimiser that converges before the budget goes on with random points, as it does in nevergrad. A one-shot
    design, which has as many points as the budget, finishes with the last of them.

    Args:
        name: In `nevergrad.optimizers.registry`, such as "OnePlusOne".
        num_workers: Queries an iteration. Optimisers that nevergrad runs one query at a time (`no_parallelization`), or
            cannot make for several, are asked one at a time whatever this says.
        sigma: Standard deviation of the first mutations, in units of x; by default a sixth of the width of each
            coordinate in a box, and elsewhere the root mean square of x0, or 1 if x0 is 0.
        budget: Queries that the optimiser paces itself by; by default what `minimize` plans. Many need one.

    Raises:
        InvalidSetting: If there is no such optimiser or a setting is out of its range.

    Examples:
        >>> import zotoolkit
        >>> objective = zotoolkit.from_callable(lambda x: float(((x - 1) ** 2).sum()), dim=3)
        >>> solver = zotoolkit.make_solver("Nevergrad/OnePlusOne-v0")
        >>> zotoolkit.minimize(objective, solver, budget=500, progress=False).x.round(decimals=1).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, name: str, num_workers: int = 1, sigma: float | None = None, budget: int | None = None) -> None:
        super().__init__()
        names = optimizer_names()
        if name not in names:
            raise InvalidSetting(
                f"nevergrad has no optimiser {brief(name)}.{did_you_mean(str(name), names)} "
                "`zotoolkit list` shows all of them."
            )
        self.name = name
        self._configured = ng.optimizers.registry[names[name]]
        check_count(num_workers, "num_workers")
        self.num_workers = 1 if self._configured.no_parallelization else int(num_workers)
        self.sigma = None if sigma is None else check_positive(sigma, "sigma")
        self.budget = None if budget is None else check_count(budget, "budget")
        self._calls = NevergradCalls()

    @property
    @override
    def _library(self) -> str:
        return f"nevergrad {ng.__version__}"

    @override
    def _open(self) -> None:
        self._calls = NevergradCalls()
        self._optimizer: Any = None
        self._candidates: list[Any] = []
        self._size = self.num_workers

    @override
    def _release(self) -> None:
        self._calls.close()

    @override
    def _query(self) -> QueryBatch:
        if self._optimizer is None:
            with self._calling(_MAKE, "start"):
                self._optimizer = self._make()
        optimizer = self._optimizer
        with self._calling(_ASK, "ask"):
            # Optimisers that make their batches themselves can be asked only while one of theirs lasts.
            can_ask = getattr(optimizer, "can_ask", lambda: True)
            self._candidates = [optimizer.ask()]
            while len(self._candidates) < self._wanted() and can_ask():
                self._candidates.append(optimizer.ask())
        return DenseBatch.at(self._points().to(self.x0.device), context=self.iteration)

    @override
    def _take(self, batch: QueryBatch, losses: np.ndarray, usable: np.ndarray) -> None:
        with self._calling(_TELL, "tell"):
            for candidate, loss in zip(self._candidates, losses.tolist(), strict=True):
                self._optimizer.tell(candidate, loss)
        self._candidates = []
        told = sum(len(part) for part in self._values)
        self.finished = self._configured.one_shot and self._budget is not None and told >= self._budget

    @override
    def recommend(self) -> Tensor:
        """Return what the optimiser recommends, the start point while no loss has come back.

        That is its own answer, not the best point observed: optimisers for noisy losses recommend a mean or a point
        that they have asked again. `best_x` is the best point observed.
        """
        if self.best_value == float("inf"):
            return self.x0.clone()
        random = self._optimizer.parametrization.random_state
        state = random.get_state()
        with self._calling(_RECOMMEND, "recommend"):
            value = np.asarray(self._optimizer.provide_recommendation().value)
        random.set_state(state)
        if not np.isfinite(value).all():
            return self.best_x.clone()
        return self.bounds.project(torch.as_tensor(value).to(self.x0))

    def _make(self) -> Any:
        x0 = self.x0.double().cpu().numpy()
        if self.bounds.finite:
            low, high = (bound.double().cpu().numpy() for bound in self.bounds)
            array = ng.p.Array(init=x0, lower=low, upper=high)
            if self.sigma is not None:
                array.set_mutation(sigma=self.sigma)
        else:
            array = ng.p.Array(init=x0).set_mutation(sigma=free_scale(self.x0) if self.sigma is None else self.sigma)
        array.random_state = np.random.RandomState(derive_seed(self.seed, _MAKE) % (1 << 32))
        try:
            return self._configured(array, budget=self._budget, num_workers=self._size)
        except Exception:
            if self._size == 1:
                raise
        self._size = 1  # a composition of which no part can do several at once
        return self._configured(array, budget=self._budget, num_workers=1)

    @property
    def _budget(self) -> int | None:
        return self.planned if self.budget is None else self.budget

    def _wanted(self) -> int:
        """Return the size of a full batch, or what is left of the budget, beyond which some optimisers break."""
        if self._budget is None:
            return self._size
        left = self._budget - sum(len(part) for part in self._values)
        return min(self._size, left) if left > 0 else self._size

    def _points(self) -> Tensor:
        """Return the candidates as `(q, d)` points inside the space, in its dtype, on the CPU."""
        points = torch.empty(len(self._candidates), self.dim, dtype=dtype_of(self.space))
        rows = points.numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is clipped below
            for row, candidate in zip(rows, self._candidates, strict=True):
                row[:] = candidate.value
            usual = np.isfinite(rows.sum())
        if not usual:
            limit = torch.finfo(points.dtype).max
            points = torch.where(points.isnan(), self.x0.cpu(), points).clamp_(-limit, limit)
        bounded = torch.isfinite(self.bounds.low).any() or torch.isfinite(self.bounds.high).any()
        return torch.clamp(points, self.bounds.low.cpu(), self.bounds.high.cpu(), out=points) if bounded else points

    @contextmanager
    def _calling(self, phase: int, verb: str) -> Iterator[None]:
        """Make calls into nevergrad, and say whose error it was."""
        try:
            with self._calls(derive_seed(self.seed, self.iteration, phase)):
                yield
        except Exception as error:
            # What happens on an optimiser's own thread comes wrapped.
            cause = error if error.__cause__ is None else error.__cause__
            if isinstance(cause, ImportError):
                raise MissingExtra(
                    f"nevergrad's {self.name} needs a package that is not installed: {cause}. Install it, or choose "
                    "another optimiser."
                ) from error
            hint = (
                "" if self._budget is not None else " It may need to know the budget: pass budget=..., or use minimize."
            )
            raise SolverFailed(
                f"nevergrad's {self.name} failed in {verb} at iteration {self.iteration} (d={self.dim}, "
                f"num_workers={self.num_workers}, budget={self._budget}): {error!r}.{hint}"
            ) from error


def optimizer_names() -> dict[str, str]:
    """Return the names of all optimisers, as ids can hold them, and as nevergrad's registry has them."""
    return {name.strip(): name for name in ng.optimizers.registry}


def entries() -> Iterator[EntrySpec]:
    """Yield the registry entries `Nevergrad/<name>-v0`."""
    for name, registered in optimizer_names().items():
        alone = ", one query at a time" if ng.optimizers.registry[registered].no_parallelization else ""
        yield EntrySpec(
            f"Nevergrad/{name}-v0",
            "zotoolkit.solvers.nevergrad_solver:NevergradSolver",
            {"name": name},
            f"nevergrad's {name}{alone}",
        )
