"""A learning rate that rises linearly, then falls to 0 as a cosine: a pure function of the step."""

from __future__ import annotations

import math


def warmup_cosine(step: int, length: int, warmup: float) -> float:
    """Return the factor of the learning rate at a step, counted from 0; 0 once the schedule is over.

    Args:
        step: Which.
        length: Steps of the whole schedule.
        warmup: Share of them in which the factor rises to 1.

    Examples:
        >>> [round(warmup_cosine(step, 6, 1 / 3), 3) for step in range(7)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    rising = round(warmup * length)
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * min((step - rising) / max(length - rising, 1), 1.0))) / 2
