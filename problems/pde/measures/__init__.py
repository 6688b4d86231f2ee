"""Figures over time: how far a predicted trajectory is from the true one, for how long, and at which wave lengths."""

from problems.pde.measures.errors_over_time import absolute_errors, blow_up_frames, mae, relative_errors, relative_l2
from problems.pde.measures.spectra import energy_spectrum, stream_spectrum
from problems.pde.measures.valid_time import valid_time

__all__ = [
    "absolute_errors",
    "blow_up_frames",
    "energy_spectrum",
    "mae",
    "relative_errors",
    "relative_l2",
    "stream_spectrum",
    "valid_time",
]
