"""Buoyancy-driven smoke in a closed box."""

from problems.pde.simulators.smoke.flow import SmokeFlow
from problems.pde.simulators.smoke.projection import ClosedProjection

__all__ = ["ClosedProjection", "SmokeFlow"]
