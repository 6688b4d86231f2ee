"""zotoolkit: zeroth-order (query-only) optimisation with Gym-like interfaces."""

from zotoolkit import catalogue as _catalogue  # noqa: F401 - registers what comes with the package
from zotoolkit.callable_objective import from_callable
from zotoolkit.callbacks import Callback, EarlyStop, History, TensorBoard
from zotoolkit.directions import Law
from zotoolkit.dispatch import PartialFailure
from zotoolkit.errors import ZotoolkitError
from zotoolkit.estimators import CGE, RGE, PowerDecay
from zotoolkit.masks import FixedMask, UniformMask
from zotoolkit.minimize import minimize
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.optimizers import SignSGD
from zotoolkit.problem_registry import make, pprint_registry, register, spec
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.registration import EntrySpec
from zotoolkit.run import Reason, Result, Run
from zotoolkit.solver_registry import make_solver, pprint_solvers, register_solver, solver_spec
from zotoolkit.solvers import GradientSolver, Solver
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

__version__ = "0.1.0"

__all__ = [
    "CGE",
    "RGE",
    "BlackBoxObjective",
    "BudgetLimit",
    "Cache",
    "Callback",
    "CoordinateBatch",
    "DenseBatch",
    "EarlyStop",
    "EntrySpec",
    "FixedMask",
    "GradientSolver",
    "GymEnvAdapter",
    "History",
    "Law",
    "Noise",
    "PartialFailure",
    "PolicyObjective",
    "PowerDecay",
    "QueryBatch",
    "Reason",
    "Record",
    "RescaleSpace",
    "Result",
    "Retry",
    "Run",
    "SeededBatch",
    "SignSGD",
    "Solver",
    "Status",
    "StepInfo",
    "TargetReached",
    "TensorBoard",
    "UniformMask",
    "Wrapper",
    "ZotoolkitError",
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
