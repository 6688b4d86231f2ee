"""How long a prediction of chaos is worth something."""

from __future__ import annotations

import torch
from torch import Tensor

from problems.pde.measures.errors_over_time import relative_errors
from zotoolkit.checks import check_positive


def valid_time(
    predicted: Tensor,
    true: Tensor,
    dt: float,
    *,
    threshold: float = 0.4,
    exponent: float | None = None,
    where: Tensor | None = None,
) -> Tensor:
    """Return the `(B,)` first times at which the relative l2 error exceeds a threshold.

    A trajectory that never exceeds it gets the time of its last frame, T dt: its valid time is at least that. One that
    blew up exceeds it at its first frame that is not finite.

    Args:
        predicted: `(T + 1, B, *F)`.
        true: Of the same shape, finite.
        dt: Time between frames.
        threshold: Above 0.
        exponent: Largest Lyapunov exponent, per unit of time; then times are in Lyapunov times, 1 / exponent.
        where: `*F` bool, the entries that count; None for all.

    Raises:
        InvalidState: If shapes do not fit or the truth is not finite.
        InvalidSetting: If dt, threshold or exponent is not positive.

    Examples:
        >>> true = torch.ones(5, 2, 3)
        >>> predicted = true * torch.tensor([1.0, 1.1, 1.3, 1.5, 1.7])[:, None, None]
        >>> predicted[:, 1] = 1.0
        >>> valid_time(predicted, true, dt=0.5)
        tensor([1.5000, 2.0000], dtype=torch.float64)
        >>> valid_time(predicted, true, dt=0.5, exponent=0.1)
        tensor([0.1500, 0.2000], dtype=torch.float64)

    Source: Pathak, Hunt, Girvan, Lu and Ott, Phys. Rev. Lett. 120, 024102 (2018), whose error is divided by the mean
    length of the truth over time, here by its length at that time.
    """
    dt, threshold = check_positive(dt, "dt"), check_positive(threshold, "threshold")
    unit = 1.0 if exponent is None else check_positive(exponent, "exponent")
    wrong = relative_errors(predicted, true, where) > threshold
    first = torch.where(wrong.any(0), wrong.int().argmax(0), len(wrong) - 1)
    return first.double() * (dt * unit)
