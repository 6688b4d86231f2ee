"""SciPy's minimisers as solvers.

    make_solver("SciPy/Powell-v0")
    make_solver("SciPy/differential_evolution-v0", options={"popsize": 20})

Local methods of `scipy.optimize.minimize`, and the global ones, which need finite bounds (all but basinhopping). A
batch is what SciPy asks at once: one point; or a point with its finite differences, `d + 1` coordinate queries that
share a mini-batch (the methods that use derivatives); or a whole generation (differential evolution).

Bounds: methods that know bounds get them, and every query is clipped into the space all the same. BFGS and CG know
none: they minimise f(P(x)), P the projection onto the box, whose derivative is 0 in a coordinate that has left it. They
honour the bounds so, but stall at them; L-BFGS-B is the better choice in a box.

Source: Virtanen et al., SciPy 1.0, Nature Methods 17, 2020; each method's own source in SciPy's documentation.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from scipy import optimize
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_positive
from zotoolkit.errors import (
    AskTellOrder,
    InvalidSetting,
    InvalidSpace,
    SolverFailed,
    UnknownSetting,
    brief,
    did_you_mean,
)
from zotoolkit.estimators.cge import CGE
from zotoolkit.queries import DenseBatch, QueryBatch
from zotoolkit.registration import EntrySpec
from zotoolkit.seeding import derive_seed, numpy_generator
from zotoolkit.solvers.coroutine import Coroutine, Returned
from zotoolkit.solvers.isolation import isolated
from zotoolkit.solvers.replayed import ReplayedSolver
from zotoolkit.spaces import dtype_of

_ENDLESS = 10**9  # evaluations or iterations: the run's budget ends it, or convergence does
_OWN = ("func", "fun", "x0", "args", "bounds", "jac", "callback", "rng", "seed", "workers", "vectorized", "updating")


@dataclass(frozen=True)
class _Method:
    """What there is to know of a method.

    Attributes:
        description: One line for listings.
        limits: Options that are set to "endless" unless the user sets them.
        gradient: Whether it uses derivatives.
        bounded: Whether it knows bounds.
        box: Whether it needs finite bounds.
    """

    description: str
    limits: tuple[str, ...] = ()
    gradient: bool = False
    bounded: bool = True
    box: bool = False


METHODS = {
    "Nelder-Mead": _Method("simplex search", ("maxiter", "maxfev")),
    "Powell": _Method("line searches along conjugate directions", ("maxiter", "maxfev")),
    "COBYLA": _Method("linear models in a trust region", ("maxiter",)),
    "COBYQA": _Method("quadratic models in a trust region", ("maxiter", "maxfev")),
    "BFGS": _Method("quasi-Newton, finite differences", ("maxiter",), gradient=True, bounded=False),
    "CG": _Method("conjugate gradients, finite differences", ("maxiter",), gradient=True, bounded=False),
    "L-BFGS-B": _Method("limited-memory quasi-Newton, finite differences", ("maxiter", "maxfun"), gradient=True),
    "SLSQP": _Method("sequential least squares, finite differences", ("maxiter",), gradient=True),
    "TNC": _Method("truncated Newton, finite differences", ("maxfun",), gradient=True),
    "trust-constr": _Method("trust region, finite differences", ("maxiter",), gradient=True),
    "differential_evolution": _Method("differential evolution, a generation a batch", ("maxiter",), box=True),
    "dual_annealing": _Method("generalised simulated annealing", ("maxiter", "maxfun"), box=True),
    "shgo": _Method("simplicial homology global optimisation", box=True),
    "direct": _Method("dividing rectangles", box=True),
    "basinhopping": _Method("random jumps, L-BFGS-B after each", ("niter",), gradient=True),
}
_GLOBAL = ("differential_evolution", "dual_annealing", "shgo", "direct", "basinhopping")


class ScipySolver(ReplayedSolver):
    """Asks one of SciPy's minimisers, which runs on a thread of its own and waits for every answer.

    Finishes when SciPy does; `message` then holds what SciPy says of it.

    Args:
        method: "Powell", "L-BFGS-B", "differential_evolution", ...: spelt as in SciPy.
        mu: Step of the finite differences, in units of x; by default the root of the dtype's precision times the
            largest magnitude in x0, at least 1. Larger is better where losses are noisy.
        options: The method's own options: of `scipy.optimize.minimize` ("tol" too), or the keywords of the global
            method's function. Limits on iterations and evaluations are lifted unless set here; the budget ends a run.

    Raises:
        InvalidSetting: If there is no such method, or an option is out of its range.
        UnknownSetting: If the method has no such option.

    Examples:
        >>> import zotoolkit
        >>> objective = zotoolkit.from_callable(lambda x: float(((x - 1) ** 2).sum()), dim=3)
        >>> result = zotoolkit.minimize(objective, ScipySolver("L-BFGS-B"), budget=100, progress=False)
        >>> result.x.round(decimals=3).tolist(), result.reason.name
        ([1.0, 1.0, 1.0], 'SOLVER_FINISHED')
    """

    def __init__(self, method: str, mu: float | None = None, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.method = check_choice(method, tuple(METHODS), "method")
        self._about = METHODS[self.method]
        self.mu = None if mu is None else check_positive(mu, "mu")
        if options is not None and not isinstance(options, dict):
            raise InvalidSetting(f"options must be a dict such as {{'maxiter': 100}}, got {brief(options)}.")
        self.options = copy.deepcopy(options or {})
        self._check_options()
        self._coroutine: Coroutine[_Question, Any] | None = None

    @property
    @override
    def _library(self) -> str:
        return f"scipy {scipy.__version__}"

    @override
    def _open(self) -> None:
        self.message = ""
        self._question: _Question | None = None
        self._estimator = CGE(self._step())
        if self._about.box and not self.bounds.finite:
            i = int(torch.nonzero(~torch.isfinite(self.bounds.high - self.bounds.low))[0])
            raise InvalidSpace(
                f"SciPy's {self.method} needs finite bounds in every coordinate; coordinate {i} has "
                f"[{self.bounds.low[i].item():g}, {self.bounds.high[i].item():g}]."
            )

    @override
    def _release(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
        self._coroutine = None

    @override
    def _query(self) -> QueryBatch:
        if self._coroutine is None:
            coroutine = self._coroutine = Coroutine(self._program())
            self._hear(lambda: _start(coroutine))
        question = self._question
        if question is None:
            raise SolverFailed(f"SciPy's {self.method} ended before it asked anything: {self.message}")
        x = torch.as_tensor(question.x).to(dtype_of(self.space)).to(self.x0.device)
        x = self.bounds.project(torch.where(torch.isfinite(x), x, self.x0))
        if question.gradient:
            return self._estimator.queries(x[0], None, self.iteration, self.seed, self.bounds)
        return DenseBatch.at(x, context=self.iteration)

    @override
    def _take(self, batch: QueryBatch, losses: np.ndarray, usable: np.ndarray) -> None:
        question, coroutine = self._question, self._coroutine
        if question is None or coroutine is None:
            raise AskTellOrder(f"{self!r} was closed; reset(space, x0) begins a new run.")
        answer: Any = losses
        if question.gradient:
            estimate = self._estimator.gradient(batch, torch.from_numpy(losses), torch.from_numpy(usable))
            answer = float(losses[0]), self._inward(estimate.gradient.double().cpu().numpy(), question.x[0])
        elif question.scalar:
            answer = float(losses[0])
        self._hear(lambda: coroutine.send(answer))

    @override
    def recommend(self) -> Tensor:
        """Return the point of the lowest loss observed, the start point before there is one.

        SciPy's methods take every loss at its face value, so this is the point that they would name.
        """
        return self.best_x.clone()

    def _inward(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the gradient of f(P(x)): 0 in coordinates that have left the box."""
        low, high = (bound.double().cpu().numpy() for bound in self.bounds)
        return np.where((x < low) | (x > high), 0.0, gradient)

    def _hear(self, call: Callable[[], _Question | Returned]) -> None:
        """Let SciPy run until its next question or its end."""
        try:
            with isolated(derive_seed(self.seed, self.iteration)):
                warnings.filterwarnings("error", "Unknown solver options", optimize.OptimizeWarning)
                heard = call()
        except optimize.OptimizeWarning as error:
            raise UnknownSetting(f"SciPy's {self.method} does not take options={self.options}: {error}.") from error
        except Exception as error:
            raise SolverFailed(
                f"SciPy's {self.method} failed at iteration {self.iteration} (d={self.dim}, options={self.options}): "
                f"{type(error).__name__}: {error}"
            ) from error
        self._question = None
        if isinstance(heard, Returned):
            self.finished = True
            self.message = str(getattr(heard.result, "message", ""))
        else:
            self._question = heard

    def _program(self) -> Callable[[Callable[[_Question], Any]], Any]:
        """Return what SciPy's thread runs; it must not refer to this solver."""
        method, about, x0 = self.method, self._about, self.x0.double().cpu().numpy()
        options: dict[str, Any] = dict.fromkeys(about.limits, _ENDLESS) | self.options
        if method == "direct" and self.planned is not None:  # its memory and time grow with these
            options = {"maxfun": self.planned, "maxiter": self.planned} | options
        low, high = (bound.double().cpu().numpy() for bound in self.bounds)
        some = bool(np.isfinite(low).any() or np.isfinite(high).any())
        bounds: Any = optimize.Bounds(low, high) if some and about.bounded else None  # pyright: ignore[reportArgumentType]
        generator = numpy_generator(self.seed)
        local_iterations = min(max(6 * self.dim, 100), 1000)  # dual annealing's own choice

        def run(ask: Callable[[_Question], Any]) -> Any:
            def fun(x: np.ndarray) -> Any:
                if x.ndim == 2:  # a generation, `(d, q)`
                    return ask(_Question(x.T.copy(), gradient=False, scalar=False))
                return ask(_Question(x[None].copy(), gradient=about.gradient, scalar=True))

            def jac(x: np.ndarray) -> np.ndarray:
                return ask(_Question(x[None].copy(), gradient=True, scalar=True))[1]

            if method not in _GLOBAL:
                tol = options.pop("tol", None)
                return optimize.minimize(
                    fun, x0, method=method, jac=about.gradient or None, bounds=bounds, tol=tol, options=options
                )
            function = getattr(optimize, method)
            names = inspect.signature(function).parameters
            drawn = {name: generator for name in ("rng", "seed") if name in names}
            settings: dict[str, Any] = dict(list(drawn.items())[:1])
            # The local searches get their finite differences in a batch.
            if method == "basinhopping":
                local = {"method": "L-BFGS-B", "jac": True, "bounds": bounds}
                return function(fun, x0, minimizer_kwargs=local, **settings, **options)
            if method == "dual_annealing":
                local = {"method": "L-BFGS-B", "jac": jac, "bounds": bounds, "options": {"maxiter": local_iterations}}
                options.setdefault("minimizer_kwargs", local)
            elif method == "shgo":
                options.setdefault("minimizer_kwargs", {"method": "SLSQP", "jac": jac, "options": {"ftol": 1e-12}})
            if "x0" in names:
                settings["x0"] = x0
            if method == "differential_evolution":
                settings |= {"vectorized": True, "updating": "deferred"}
            return function(fun, bounds, **settings, **options)

        return run

    def _step(self) -> float:
        if self.mu is not None:
            return self.mu
        precision = torch.finfo(dtype_of(self.space)).eps
        return precision**0.5 * max(1.0, float(self.x0.abs().max()))

    def _check_options(self) -> None:
        for key in self.options:
            if key in _OWN or (key == "minimizer_kwargs" and self.method == "basinhopping"):
                raise InvalidSetting(f"options may not hold {key!r}: the adapter sets it itself.")
        if self.method in _GLOBAL:
            known = [name for name in inspect.signature(getattr(optimize, self.method)).parameters if name not in _OWN]
            for key in self.options:
                if key not in known:
                    raise UnknownSetting(
                        f"SciPy's {self.method} has no option {key!r}; options: {', '.join(known)}."
                        f"{did_you_mean(str(key), known)}"
                    )


@dataclass(frozen=True, eq=False)
class _Question:
    """What SciPy wants to know.

    Attributes:
        x: `(q, d)` points.
        gradient: Whether it wants the loss and the gradient at the one point.
        scalar: Whether it wants a number for the one point.
    """

    x: np.ndarray
    gradient: bool
    scalar: bool


def _start(coroutine: Coroutine[_Question, Any]) -> _Question | Returned:
    """Start SciPy without the lock that it holds through a whole run of COBYQA.

    With it, a second COBYQA in the process would wait for the first one to end. It guards no state: nothing in COBYQA
    is global but the print options of `disp`, and here only one run computes at a time.
    """
    module: Any = importlib.import_module("scipy.optimize._cobyqa_py")
    lock = getattr(module, "COBYQA_LOCK", None)
    module.COBYQA_LOCK = contextlib.nullcontext()
    try:
        return coroutine.start()
    finally:
        module.COBYQA_LOCK = lock


def entries() -> Iterator[EntrySpec]:
    """Yield the registry entries `SciPy/<method>-v0`."""
    for method, about in METHODS.items():
        yield EntrySpec(
            f"SciPy/{method}-v0", "zotoolkit.solvers.scipy_solver:ScipySolver", {"method": method}, about.description
        )
