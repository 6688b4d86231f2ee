"""zotoolkit: zeroth-order (query-only) optimisation with Gym-like interfaces."""

import importlib
from typing import TYPE_CHECKING, Any

from zotoolkit import catalogue as _catalogue  # noqa: F401 - registers what comes with the package
from zotoolkit.callable_objective import from_callable
from zotoolkit.callbacks import Callback, EarlyStop, History, TensorBoard
from zotoolkit.check_objective import check_objective
from zotoolkit.dispatch import PartialFailure
from zotoolkit.errors import ZotoolkitError
from zotoolkit.estimators import CGE, RGE, PowerDecay
from zotoolkit.laws import Law, Segmented
from zotoolkit.masks import FixedMask, LayerwiseRandomMask, MagnitudeMask, UniformMask
from zotoolkit.minimize import minimize
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.optimizers import SignSGD
from zotoolkit.problem_registry import make, pprint_registry, register, spec
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.registration import EntrySpec
from zotoolkit.run import Reason, Result, Run
from zotoolkit.solver_registry import make_solver, pprint_solvers, register_solver, solver_spec
from zotoolkit.solvers import DeepZero, GradientSolver, PatternSearch, RandomSearch, ReplayedSolver, Solver
from zotoolkit.spaces import make_space
from zotoolkit.status import Status, StepInfo
from zotoolkit.wrappers import (
    BudgetLimit,
    Cache,
    GymEnvAdapter,
    Noise,
    PolicyObjective,
    Record,
    RescaleSpace,
    Retry,
    TargetReached,
    Wrapper,
    from_env,
    read_record,
)

if TYPE_CHECKING:
    from zotoolkit.solvers.nevergrad_solver import NevergradSolver
    from zotoolkit.solvers.scipy_solver import ScipySolver

__version__ = "0.1.0"

# What takes seconds to import is imported when it is asked for.
_LATE = {
    "NevergradSolver": "zotoolkit.solvers.nevergrad_solver",
    "ScipySolver": "zotoolkit.solvers.scipy_solver",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CGE",
    "RGE",
    "BlackBoxObjective",
    "BudgetLimit",
    "Cache",
    "Callback",
    "CoordinateBatch",
    "DeepZero",
    "DenseBatch",
    "EarlyStop",
    "EntrySpec",
    "FixedMask",
    "GradientSolver",
    "GymEnvAdapter",
    "History",
    "Law",
    "LayerwiseRandomMask",
    "MagnitudeMask",
    "NevergradSolver",
    "Noise",
    "PartialFailure",
    "PatternSearch",
    "PolicyObjective",
    "PowerDecay",
    "QueryBatch",
    "RandomSearch",
    "Reason",
    "Record",
    "ReplayedSolver",
    "RescaleSpace",
    "Result",
    "Retry",
    "Run",
    "ScipySolver",
    "SeededBatch",
    "Segmented",
    "SignSGD",
    "Solver",
    "Status",
    "StepInfo",
    "TargetReached",
    "TensorBoard",
    "UniformMask",
    "Wrapper",
    "ZotoolkitError",
    "check_objective",
    "from_callable",
    "from_env",
    "make",
    "make_solver",
    "make_space",
    "minimize",
    "pprint_registry",
    "pprint_solvers",
    "read_record",
    "register",
    "register_solver",
    "solver_spec",
    "spec",
]
