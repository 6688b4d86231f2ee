"""The interface of masks: which coordinates are alive in an iteration."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Mask(ABC):
    """Says which coordinates a gradient solver estimates and updates. A pure function of (iteration, seed)."""

    @abstractmethod
    def alive(self, dim: int, iteration: int, seed: int) -> Tensor:
        """Return the `(k,)` int64 live coordinates, ascending, on the CPU.

        Args:
            dim: Number of coordinates d.
            iteration: Counted from 0.
            seed: The run's seed.
        """
