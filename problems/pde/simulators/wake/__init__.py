"""The two-dimensional unsteady wake flow behind a disc."""

from problems.pde.simulators.wake.flow import WakeFlow
from problems.pde.simulators.wake.projection import Projection
from problems.pde.simulators.wake.runs import spin_up, strouhal_number
from problems.pde.simulators.wake.staggered import divergence, downsample, face_mask, vorticity

__all__ = ["Projection", "WakeFlow", "divergence", "downsample", "face_mask", "spin_up", "strouhal_number", "vorticity"]
