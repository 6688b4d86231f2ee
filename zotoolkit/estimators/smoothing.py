"""The smoothing parameter mu: fixed, falling over the iterations, or what fits the objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, brief

if TYPE_CHECKING:
    from zotoolkit.structure import Structure

USUAL_MU = 5e-3  # of DeepZero, and of most of the literature


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


@dataclass(frozen=True)
class FittingMu:
    """The mu that an objective names as fitting its differences (`Structure.smoothing`), and where it names none, mu.

    An objective that computes with limited accuracy knows best how small a step it still answers to; see
    `zotoolkit.estimators.rounding_mu`.

    Args:
        mu: Where the objective says nothing. Must be positive.

    Raises:
        InvalidSetting: If mu is not positive.
    """

    mu: float = USUAL_MU

    def __post_init__(self) -> None:
        check_positive(self.mu, "mu")

    def found(self, structure: Structure, difference: str) -> float:
        """Return the mu for one kind of difference, "forward" or "central"."""
        return structure.smoothing.get(difference, self.mu)


def rounding_mu(accuracy: float, difference: str, *, scale: float = 1.0) -> float:
    """Return a mu that balances a difference's rounding with its curvature.

    A loss that is right to a relative accuracy a makes an error of about a / mu in a difference; the terms that a
    forward difference neglects are of the order mu / scale, those of a central one (mu / scale)^2. The sum is least at
    scale * a^(1/2) and scale * a^(1/3).

    Args:
        accuracy: Relative accuracy of a loss, such as 1.2e-7 in float32.
        difference: "forward" or "central".
        scale: Length over which the loss bends, in units of x: for a network's weights about their own size.

    Raises:
        InvalidSetting: If accuracy or scale is not positive.

    Examples:
        >>> round(rounding_mu(1e-6, "forward"), 6), round(rounding_mu(1e-6, "central"), 6)
        (0.001, 0.01)

    Source: Gill, Murray and Wright, Practical Optimization, 1981, section 8.6.
    """
    power = 1 / 2 if difference == "forward" else 1 / 3
    return check_positive(scale, "scale") * check_positive(accuracy, "accuracy") ** power


Smoothing = Union[float, PowerDecay, FittingMu]


def found_mu(mu: Smoothing, structure: Structure, difference: str) -> Smoothing:
    """Return mu, with what fits the objective in place of a `FittingMu`."""
    return mu.found(structure, difference) if isinstance(mu, FittingMu) else mu


def check_smoothing(mu: object) -> None:
    """Check a smoothing parameter.

    Raises:
        InvalidSetting: If it is neither a positive number nor a PowerDecay or FittingMu.
    """
    if isinstance(mu, (PowerDecay, FittingMu)):
        return
    try:
        check_positive(mu, "mu")
    except InvalidSetting:
        raise InvalidSetting(
            f"mu must be a finite number above 0, a PowerDecay or a FittingMu, got {brief(mu)}."
        ) from None


def smoothing_at(mu: Smoothing, iteration: int) -> float:
    """Return mu at an iteration, counted from 0."""
    if isinstance(mu, PowerDecay):
        return mu(iteration)
    return mu.mu if isinstance(mu, FittingMu) else float(mu)
