"""The interface of masks: which coordinates are alive in an iteration."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from zotoolkit.structure import Structure


class Mask(ABC):
    """Says which coordinates a gradient solver estimates; a pure function of (iteration, seed).

    The gradient is 0 in all others, so plain SGD leaves them where they are. What an optimiser does without a gradient
    it does to them too: weight decay, and momentum from iterations in which they were alive (as DeepZero trains).
    """

    @abstractmethod
    def alive(self, dim: int, iteration: int, seed: int) -> Tensor:
        """Return the `(k,)` int64 live coordinates, ascending, on the CPU.

        Args:
            dim: Number of coordinates d.
            iteration: Counted from 0.
            seed: The run's seed.
        """

    def prepared(self, structure: Structure, x0: Tensor) -> Mask:
        """Return the mask for a run on an objective of this structure; itself by default.

        Args:
            structure: What the objective tells of its layers and epochs, as far as the solver was attached to it.
            x0: `(d,)` start point.
        """
        return self
