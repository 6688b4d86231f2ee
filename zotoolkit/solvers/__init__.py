"""Solvers: ask, tell, recommend."""

from zotoolkit.solvers.base import Solver
from zotoolkit.solvers.gradient import GradientSolver

__all__ = ["GradientSolver", "Solver"]
