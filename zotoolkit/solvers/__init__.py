"""Solvers: ask, tell, recommend."""

from zotoolkit.solvers.base import Solver
from zotoolkit.solvers.deep_zero import DeepZero
from zotoolkit.solvers.gradient import GradientSolver
from zotoolkit.solvers.pattern_search import PatternSearch
from zotoolkit.solvers.random_search import RandomSearch
from zotoolkit.solvers.replayed import ReplayedSolver
from zotoolkit.solvers.zo_grasp import ZOGrasp, zo_grasp_scores

__all__ = [
    "DeepZero",
    "GradientSolver",
    "PatternSearch",
    "RandomSearch",
    "ReplayedSolver",
    "Solver",
    "ZOGrasp",
    "zo_grasp_scores",
]
