"""The conformance suite over what the registry holds."""

from __future__ import annotations

from typing import Any

import pytest

import zotoolkit
from zotoolkit import solver_registry
from zotoolkit.solvers.base import Solver
from zotoolkit.solvers.scipy_solver import METHODS
from zotoolkit.testing import SolverConformance

_BOX = {f"SciPy/{name}-v0" for name, method in METHODS.items() if method.box}
_RANDOM_SCIPY = {"differential_evolution", "dual_annealing", "basinhopping"}

# Of every kind that nevergrad has: sequential and parallel, populations, one-shot designs, surrogates, competence maps,
# compositions, and those that run on a thread of their own.
_NEVERGRAD = {
    "OnePlusOne": 1,
    "DiagonalCMA": 8,
    "CMA": 8,
    "TwoPointsDE": 8,
    "PSO": 8,
    "TBPSA": 8,
    "SPSA": 1,
    "ScrHammersleySearch": 8,
    "MetaRecentering": 8,
    "NGOpt": 1,
    "Powell": 1,
    "CmaFmin2": 1,
    "ChainCMAPowell": 1,
    "MetaModel": 4,
    "Portfolio": 4,
}

_SETTINGS: dict[str, dict[str, Any]] = {
    "ZO/SGD-RGE-v0": {"lr": 0.05, "momentum": 0.0},
    "ZO/DeepZero-v0": {"q": 4, "sparsity": 0.5, "lr": 0.05},
    "ZO/Adam-CGE-v0": {"lr": 0.1},
    "ZO/Adam-RGE-v0": {"lr": 0.1},
    "ZO/SignSGD-v0": {"lr": 0.05},
    "ZO/SPSA-v0": {"a": 1.0, "c": 0.05},
    **{f"Nevergrad/{name}-v0": {"num_workers": count} for name, count in _NEVERGRAD.items()},
}

_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "ZO/SGD-CGE-v0": {"stochastic": False},
    "ZO/DeepZero-v0": {"lag": 2},  # both estimates of its scores are of the first mini-batch
    "ZO/Adam-CGE-v0": {"stochastic": False},
    "Search/Pattern-v0": {"stochastic": False},
    **{f"SciPy/{name}-v0": {"stochastic": name in _RANDOM_SCIPY} for name in METHODS},
    # One query at a time needs more of them to see chance at work.
    "SciPy/dual_annealing-v0": {"iterations": 20},
    "SciPy/basinhopping-v0": {"iterations": 30},
    "Nevergrad/Powell-v0": {"stochastic": False, "iterations": 20},
    "Nevergrad/NGOpt-v0": {"stochastic": False, "iterations": 12, "progress_budget": 60},
    "Nevergrad/MetaModel-v0": {"iterations": 4, "progress_budget": 60, "cases": (("box", "float64"),)},
    "Nevergrad/Portfolio-v0": {"progress_budget": 100},
    # In so few dimensions the scrambling has nothing to scramble.
    "Nevergrad/ScrHammersleySearch-v0": {"stochastic": False},
    "Nevergrad/MetaRecentering-v0": {"stochastic": False},
    "Nevergrad/SPSA-v0": {"share": 0.9999},  # nevergrad fixes its learning rate at 1e-5
}


def _suite(id: str) -> type[SolverConformance]:
    def make_solver(self: SolverConformance) -> Solver:
        return zotoolkit.make_solver(id, **_SETTINGS.get(id, {}))

    attributes = dict(_ATTRIBUTES.get(id, {}))
    if id.startswith("Nevergrad/"):
        attributes.setdefault("progress_budget", 200)
    if id in _BOX:
        attributes["cases"] = (("box", "float64"), ("box", "float32"))
    name = "Test_" + "".join(c if c.isalnum() else "_" for c in id)
    return type(name, (SolverConformance,), {"make_solver": make_solver, "__module__": __name__, **attributes})


def _ids() -> list[str]:
    listed = [spec.id for spec in solver_registry.solvers.specs() if spec.family in ("ZO", "Search", "SciPy")]
    return listed + [f"Nevergrad/{name}-v0" for name in _NEVERGRAD]


for _id in _ids():
    _class = _suite(_id)
    globals()[_class.__name__] = _class


def test_the_suites_cover_the_registry() -> None:
    families = {id.partition("/")[0] for id in _ids()}
    assert families == {"ZO", "Search", "SciPy", "Nevergrad"}
    assert set(_SETTINGS) | set(_ATTRIBUTES) <= set(_ids())


def test_a_suite_without_a_solver_says_so() -> None:
    with pytest.raises(NotImplementedError, match="make_solver"):
        SolverConformance().make_solver()
