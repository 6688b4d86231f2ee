"""Correctors: networks that add to a coarse solver's state what its step got wrong."""

from problems.pde.correctors.periodic_convolutions import PeriodicConvolutions

__all__ = ["PeriodicConvolutions"]
