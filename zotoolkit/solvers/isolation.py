"""Third-party code kept to itself: its draws from global generators, and its warnings."""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

# Global generators and warning filters belong to the process: one solver at a time changes them.
_LOCK = threading.RLock()


def _no_seeding(*args: object) -> None:
    """Stand in for `numpy.random.seed`: pycma seeds it from the clock."""


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed the global generators for what runs inside, put them back after, and hold back warnings.

    What a third-party optimiser warns of cannot be acted on here: a population too small for the workers, a surrogate
    that has not converged, a start point that it clipped.

    Args:
        seed: In [0, 2^63).
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        python, numpy, seeding = random.getstate(), np.random.get_state(), np.random.seed  # noqa: NPY002 - to put back
        random.seed(seed)
        np.random.seed(seed % (1 << 32))  # noqa: NPY002
        np.random.seed = _no_seeding
        try:
            yield
        finally:
            np.random.seed = seeding
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
