"""The smoothing parameter mu, fixed or falling over the iterations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, brief


@dataclass(frozen=True)
class PowerDecay:
    """mu_k = initial / (k + 1) ** exponent, SPSA's gain sequence c_k.

    Args:
        initial: mu at iteration 0, in units of x. Must be positive.
        exponent: How fast it falls; 0.101 is Spall's choice.

    Raises:
        InvalidSetting: If either is not positive.

    Source: Spall, IEEE Trans. Aerospace and Electronic Systems 34(3), 1998, section III.

    Examples:
        >>> PowerDecay(0.1, exponent=0.5)(3)
        0.05
    """

    initial: float
    exponent: float = 0.101

    def __post_init__(self) -> None:
        check_positive(self.initial, "initial")
        check_positive(self.exponent, "exponent")

    def __call__(self, iteration: int) -> float:
        """Return mu at an iteration, counted from 0."""
        return self.initial / (check_count(iteration, "iteration", least=0) + 1) ** self.exponent


Smoothing = Union[float, PowerDecay]


def check_smoothing(mu: object) -> None:
    """Check a smoothing parameter.

    Raises:
        InvalidSetting: If it is neither a positive number nor a PowerDecay.
    """
    if isinstance(mu, PowerDecay):
        return
    try:
        check_positive(mu, "mu")
    except InvalidSetting:
        raise InvalidSetting(f"mu must be a finite number above 0 or a PowerDecay, got {brief(mu)}.") from None


def smoothing_at(mu: Smoothing, iteration: int) -> float:
    """Return mu at an iteration, counted from 0."""
    return mu(iteration) if isinstance(mu, PowerDecay) else float(mu)
