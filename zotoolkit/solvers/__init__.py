"""Solvers: ask, tell, recommend."""

from zotoolkit.solvers.base import Solver
from zotoolkit.solvers.gradient import GradientSolver
from zotoolkit.solvers.pattern_search import PatternSearch
from zotoolkit.solvers.random_search import RandomSearch
from zotoolkit.solvers.replayed import ReplayedSolver

__all__ = ["GradientSolver", "PatternSearch", "RandomSearch", "ReplayedSolver", "Solver"]
