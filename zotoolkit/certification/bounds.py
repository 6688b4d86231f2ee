"""Confidence bounds of a probability from counts, and the radii that follow from them.

    p_A = B^-1(alpha; k, n - k + 1)      one-sided Clopper-Pearson: p >= p_A with probability 1 - alpha
    radius = sigma Phi^-1(p_A)           where p_A >= 1/2; below, there is nothing to certify

B^-1 is the quantile function of the beta distribution, so the bounds are exact and not an approximation.

Source: Clopper and Pearson, Biometrika 26, 1934; Cohen, Rosenfeld and Kolter, Certified adversarial robustness via
randomized smoothing, ICML 2019, theorem 1 and section 3.2.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zotoolkit.checks import check_count, check_least, check_positive
from zotoolkit.errors import InvalidSetting, RadiusWarning, brief

_MOST_SAMPLES = 10**15  # beyond it 1 - p_A is lost in float64's rounding


def check_probability(value: object, name: str) -> float:
    """Return the value as a float.

    Raises:
        InvalidSetting: If it is not a number in (0, 1).
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise InvalidSetting(f"{name} must be a number in (0, 1), got {brief(value)}.")
    return float(value)


def lower_bound(count: ArrayLike, n: int, alpha: float) -> NDArray[np.float64]:
    """Return the exact one-sided lower bounds of probabilities.

    Args:
        count: How many of the samples were successes; any shape.
        n: Samples.
        alpha: Probability at most with which a bound lies above the truth.

    Returns:
        Bounds in the shape of `count`: 0 at no success, alpha^(1/n) at n of n.

    Raises:
        InvalidSetting: If a count is outside [0, n], n below 1, or alpha outside (0, 1).

    Examples:
        >>> [round(float(p), 4) for p in lower_bound([0, 60, 100], n=100, alpha=0.001)]
        [0.0, 0.441, 0.9333]
    """
    from scipy import stats  # slow to import

    k, n, alpha = _checked(count, n, alpha)
    inner = np.clip(k, 1, max(n - 1, 1))
    bound = stats.beta.ppf(alpha, inner, n - inner + 1)
    return np.where(k == 0, 0.0, np.where(k == n, alpha ** (1 / n), bound))


def upper_bound(count: ArrayLike, n: int, alpha: float) -> NDArray[np.float64]:
    """Return the exact one-sided upper bounds of probabilities; see `lower_bound`.

    Examples:
        >>> round(float(upper_bound(40, n=100, alpha=0.001)), 4)
        0.559
    """
    k, n, alpha = _checked(count, n, alpha)
    return 1.0 - lower_bound(n - k, n, alpha)


def binomial_interval(count: ArrayLike, n: int, confidence: float = 0.95) -> tuple[NDArray, NDArray]:
    """Return the exact two-sided interval of shares, such as of an accuracy over n images.

    Args:
        count: How many of the images count; any shape.
        n: Images.
        confidence: Probability at least with which the interval holds the truth.

    Returns:
        Low and high ends in the shape of `count`.

    Raises:
        InvalidSetting: If a count is outside [0, n], n below 1, or confidence outside (0, 1).

    Examples:
        >>> low, high = binomial_interval(62, 100)
        >>> round(float(low), 3), round(float(high), 3)
        (0.517, 0.715)
    """
    tail = (1 - check_probability(confidence, "confidence")) / 2
    return lower_bound(count, n, tail), upper_bound(count, n, tail)


def radius_of(probability: ArrayLike, sigma: float) -> NDArray[np.float64]:
    """Return the l2 radii that lower bounds p_A certify: sigma Phi^-1(p_A), and 0 where p_A is below 1/2.

    Args:
        probability: Lower bounds p_A; any shape.
        sigma: Standard deviation of the noise, in units of the images.

    Examples:
        >>> [round(float(r), 4) for r in radius_of([0.4, 0.5, 0.99865], sigma=0.25)]
        [0.0, 0.0, 0.75]
    """
    from scipy import special

    p = np.asarray(probability, dtype=np.float64)
    return np.where(p < 0.5, 0.0, sigma * special.ndtri(np.maximum(p, 0.5)))


@functools.lru_cache(maxsize=256)
def least_count(n: int, alpha: float) -> int:
    """Return the least number of successes among n that certifies anything, n + 1 if not even n do.

    Examples:
        >>> least_count(1000, 0.001), least_count(5, 0.001)
        (550, 6)
    """
    # The bound grows with the count: find where it passes 1/2, in the certificate's own arithmetic.
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        if float(lower_bound(middle, n, alpha)) >= 0.5:
            high = middle
        else:
            low = middle
    return high


def max_radius(n: int, alpha: float = 0.001, sigma: float = 1.0) -> float:
    """Return the largest radius that n samples can certify: sigma Phi^-1(alpha^(1/n)), when all n agree.

    Args:
        n: Samples.
        alpha: Probability at most with which a certificate is wrong.
        sigma: Standard deviation of the noise, in units of the images.

    Returns:
        The radius; 0 if n is too small to certify anything.

    Raises:
        InvalidSetting: If n is below 1, alpha outside (0, 1) or sigma not positive.

    Examples:
        >>> [round(max_radius(n), 3) for n in (1_000, 10_000, 100_000)]
        [2.463, 3.199, 3.811]
    """
    sigma = check_positive(sigma, "sigma")
    return float(radius_of(lower_bound(n, n, alpha), sigma))


def n_required(radius: float, sigma: float, alpha: float = 0.001) -> int:
    """Return the fewest samples with which a radius can be certified at all.

    Args:
        radius: That is wanted, in units of the images; at least 0.
        sigma: Standard deviation of the noise, in the same units.
        alpha: Probability at most with which a certificate is wrong.

    Raises:
        InvalidSetting: If radius is negative, sigma not positive, alpha outside (0, 1), or no number of samples below
            10^15 suffices.

    Examples:
        >>> n_required(0.75, sigma=0.25)
        5114
    """
    from scipy import special

    ratio = check_least(radius, 0, "radius") / check_positive(sigma, "sigma")
    alpha = check_probability(alpha, "alpha")
    each = float(special.log_ndtr(ratio))  # log of the share of the noise that must agree
    wanted = math.log(alpha) / each if each < 0 else math.inf
    if wanted > _MOST_SAMPLES:
        raise InvalidSetting(
            f"a radius of {radius:g} at sigma={sigma:g} needs more than 10^15 samples; take a larger sigma."
        )
    n = max(1, math.ceil(wanted))
    # Rounding may miss by one; the last word has the bound that certificates are made of.
    if n > 1 and _reaches(n - 1, alpha, ratio):
        return n - 1
    return n if _reaches(n, alpha, ratio) else n + 1


def warn_of_radii(radii: Iterable[float], n: int, alpha: float, sigma: float) -> None:
    """Warn of the largest radius if n samples cannot certify it.

    Args:
        radii: That are asked for, in units of the images.
        n: Samples.
        alpha: Probability at most with which a certificate is wrong.
        sigma: Standard deviation of the noise, in units of the images.

    Warns:
        RadiusWarning: If one is out of reach, whatever the classifier answers, or n is too small to certify anything.
    """
    reach, radius = max_radius(n, alpha, sigma), max(radii, default=0.0)
    if radius <= reach and least_count(n, alpha) <= n:
        return
    try:
        cure = f"n={n_required(radius, sigma, alpha):,} or more"
    except InvalidSetting:
        cure = "a larger sigma"
    what = f"certified at radius {radius:g}" if radius > 0 else "certified at all"
    warnings.warn(
        f"no image can be {what} with n={n:,}, alpha={alpha:g}, sigma={sigma:g}: all samples agreeing give a radius of "
        f"{reach:.4g}; it takes {cure}.",
        RadiusWarning,
        stacklevel=3,
    )


def _reaches(n: int, alpha: float, ratio: float) -> bool:
    p = alpha ** (1 / n)
    return p >= 0.5 and float(radius_of(p, 1.0)) >= ratio


def _checked(count: ArrayLike, n: int, alpha: float) -> tuple[NDArray[np.int64], int, float]:
    n, alpha = check_count(n, "n"), check_probability(alpha, "alpha")
    k = np.asarray(count)
    if not np.issubdtype(k.dtype, np.integer) or np.any((k < 0) | (k > n)):
        raise InvalidSetting(f"counts must be integers in [0, {n}], got {brief(count)}.")
    return k.astype(np.int64), n, alpha
