"""Test functions with known minima, for comparing solvers: zotoolkit.make("Functions/Rastrigin-v0", dim=100)."""

from problems.functions.ackley import Ackley
from problems.functions.base import BenchmarkFunction, SeparableFunction
from problems.functions.ellipsoid import Ellipsoid
from problems.functions.griewank import Griewank
from problems.functions.levy import Levy
from problems.functions.rastrigin import Rastrigin
from problems.functions.rosenbrock import Rosenbrock
from problems.functions.schwefel import Schwefel
from problems.functions.sphere import Sphere
from problems.functions.styblinski_tang import StyblinskiTang

__all__ = [
    "Ackley",
    "BenchmarkFunction",
    "Ellipsoid",
    "Griewank",
    "Levy",
    "Rastrigin",
    "Rosenbrock",
    "Schwefel",
    "SeparableFunction",
    "Sphere",
    "StyblinskiTang",
]
