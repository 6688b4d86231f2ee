"""When an image need not be asked any further, since it will get no certificate.

Two rules, both looked at after every 64 samples of the estimation stage, wherever chunks end, so that they never make
a count depend on the chunk size. Each can only end an image in abstention:

    decided    k + (n - m) < K    m samples in, k of them of the selected class; K is the least count that certifies
               anything. Even if all remaining samples were of the selected class, the image would abstain: the whole
               run would end the same way, whatever the rest said.

    futility   E_m = 2 * 2^m * integral_0^(1/2) p^k (1 - p)^(m - k) dp >= 1 / beta
               An optional sequential test of p_A >= 1/2. Under that hypothesis E is a non-negative supermartingale that
               starts at 1: for every p < 1/2 the ratio of the likelihoods at p and at 1/2 is one, and E is their mean.
               So by Ville's inequality an image that could be certified is given up with probability at most beta,
               however often one looks.

Why this is sound: a certificate is wrong only if it is issued. A certificate needs all n samples and is computed from
all n as if no rule existed; the rules turn some outcomes into abstentions and never an abstention into a certificate.
So the event "a wrong certificate is issued" is a subset of the same event without rules, whose probability is at most
alpha. `decided` changes no outcome at all; `futility` costs certificates, with probability at most beta an image.

Which alphas remain valid: with alpha' <= alpha the least count K can only be larger, so what was decided stays decided,
and what was given up abstains, which is sound. With alpha' > alpha a stopped image might have been certified, so its
outcome is known only if k + (n - m) is below the K of alpha' too.

Source: Ville, Etude critique de la notion de collectif, 1939; Robbins, Annals of Mathematical Statistics 41, 1970
(mixtures of likelihood ratios).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zotoolkit.certification.bounds import least_count

LOOK = 64
"""Samples between two looks."""


@dataclass(frozen=True)
class StoppingRule:
    """Says where an image's estimation stage may end.

    Attributes:
        n: Samples of the stage.
        alpha: Of the certificate.
        futility: Probability beta at most with which an image with p_A >= 1/2 is given up; None for never.
    """

    n: int
    alpha: float
    futility: float | None = None

    def stops(self, asked: NDArray[np.int64], hits: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return where to stop.

        Args:
            asked: `(l,)` samples m at each look.
            hits: `(l,)` samples k of the selected class among them.
        """
        stop = hits + (self.n - asked) < least_count(self.n, self.alpha)
        if self.futility is not None:
            stop |= log_evidence(asked, hits) >= -math.log(self.futility)
        return stop

    def first_stop(self, labels: NDArray[np.int64], selected: int, asked: int, hits: int) -> int | None:
        """Return how many of the next `(m,)` labels count before a look says stop; None if none does.

        Args:
            labels: The next answers.
            selected: The selected class.
            asked: Samples before them.
            hits: Samples of the selected class before them.
        """
        end = min(asked + len(labels), self.n - 1)
        looks = np.arange(asked + LOOK - asked % LOOK, end + 1, LOOK)
        if not len(looks):
            return None
        stop = self.stops(looks, hits + np.cumsum(labels == selected)[looks - asked - 1])
        return int(looks[int(stop.argmax())]) - asked if stop.any() else None


def log_evidence(asked: NDArray[np.int64], hits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logarithm of the evidence E against p_A >= 1/2.

    Args:
        asked: `(l,)` samples m.
        hits: `(l,)` successes k among them.

    Examples:
        >>> [round(float(e), 2) for e in log_evidence(np.array([0, 100, 100]), np.array([0, 50, 30]))]
        [0.0, -2.08, 6.75]
    """
    from scipy import special

    a, b = hits + 1.0, asked - hits + 1.0
    with np.errstate(divide="ignore"):  # far above 1/2 the integral is 0 in float64: no evidence
        below = np.log(special.betainc(a, b, 0.5))
    return (asked + 1) * math.log(2) + special.betaln(a, b) + below
