"""Simulators: batched time steps of partial differential equations behind one interface."""

from problems.pde.simulators.base import Simulator, rollout

__all__ = ["Simulator", "rollout"]
