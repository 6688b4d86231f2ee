"""Correctors: networks that add to a coarse solver's state what its step got wrong."""

from problems.pde.correctors.mars_moon import MarsMoon
from problems.pde.correctors.periodic_convolutions import PeriodicConvolutions
from problems.pde.correctors.plain_convolutions import (
    MediumConvolutions,
    Mercury,
    PlainConvolutions,
    SmallConvolutions,
)

__all__ = [
    "MarsMoon",
    "MediumConvolutions",
    "Mercury",
    "PeriodicConvolutions",
    "PlainConvolutions",
    "SmallConvolutions",
]
