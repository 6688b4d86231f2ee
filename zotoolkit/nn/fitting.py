"""The smoothing parameter that fits what a black box answers.

Float logits and smooth probabilities change with the smallest step: mu = 0.005. Labels, trees, and images rounded to 8
bits are constant on steps so small, every difference is exactly 0 and nothing is learnt; there mu is 0.15 times the
spread of z, along normal directions to both sides. A probe at the start tells which it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import InvalidBatch, brief
from zotoolkit.estimators import RGE
from zotoolkit.nn.asking import Asker, Function
from zotoolkit.nn.directions import sampled
from zotoolkit.nn.layer import BlackBoxFunction, check_inputs
from zotoolkit.seeding import check_seed

ACCESSES = ("logits", "proba", "label")
SMALL_MU = 5e-3
SHARE_OF_SPREAD = 0.15
# Where more differences are 0, mu is too small for most samples to learn from a handful of directions.
_TOO_MANY_ZEROS = 0.1
_PROBE_DRAW = 0x9B0
_log = logging.getLogger("zotoolkit")


@dataclass(frozen=True)
class ProbeReport:
    """What differences of a black box look like around a few samples.

    Attributes:
        mu: As given.
        zero_share: Share of the differences at mu that are exactly 0 in all outputs; NaN if all queries failed.
        recommended_mu: mu where at most a tenth are 0, else 0.15 times the spread of z if that is more.
        recommended_zero_share: The same share there.
        differences: How many were formed at mu.
        failed: Queries that failed.
        queries: Queries that were sent.
    """

    mu: float
    zero_share: float
    recommended_mu: float
    recommended_zero_share: float
    differences: int
    failed: int
    queries: int

    @property
    def fits(self) -> bool:
        """Whether mu may stay as it is."""
        return self.recommended_mu == self.mu

    def __str__(self) -> str:
        text = f"at mu={self.mu:g} {self.zero_share:.0%} of {self.differences} differences are exactly 0"
        if self.fits:
            return text
        return f"{text}; at mu={self.recommended_mu:g} it is {self.recommended_zero_share:.0%}"


def fitting_mu(access: str, z: Tensor, *, smooth: bool = True) -> float:
    """Return the mu to begin with: 0.005, or 0.15 times the standard deviation of z.

    The larger one belongs to normal directions and two-sided differences, `RGE(mu, q, "central", "normal")`.

    Args:
        access: What the black box answers: "logits", "proba" or "label".
        z: Points as they will be asked, such as the latents of a mini-batch.
        smooth: Whether scores move with small steps; False for trees and for inputs rounded to 8 bits.

    Raises:
        InvalidSetting: If access is unknown.
        InvalidBatch: If z is no finite tensor, or has no spread where that is needed.

    Examples:
        >>> z = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
        >>> fitting_mu("logits", z), round(fitting_mu("label", z), 3), round(fitting_mu("proba", z, smooth=False), 3)
        (0.005, 0.15, 0.15)
    """
    check_choice(access, ACCESSES, "access")
    return _spread_mu(z) if access == "label" or not smooth else SMALL_MU


def probe_differences(
    function: Function,
    z: Tensor,
    mu: float = SMALL_MU,
    *extras: Tensor,
    samples: int = 16,
    directions: int = 4,
    seed: int = 0,
    max_batch: int = 1024,
) -> ProbeReport:
    """Ask a few two-sided differences along normal directions, and say in the log if too many are exactly 0.

    Takes `2 * samples * directions` queries, and as many again if mu seems too small.

    Args:
        function: As for `BlackBoxFunction`. A layer of that class is asked through its own count and budget.
        z: `(B, *shape)` points as they will be asked.
        mu: The smoothing parameter in question.
        extras: `(B, ...)` each.
        samples: How many of z's samples are asked, the first ones.
        directions: How many directions a sample.
        seed: Of the directions.
        max_batch: Rows of one call; a layer has its own.

    Raises:
        InvalidSetting: If a setting is out of range.
        InvalidBatch: If z or the extras do not fit.
        BudgetSpent: If a layer's budget is too small.

    Examples:
        >>> def votes(points):
        ...     return (points.sum(1) > 0).float()
        >>> report = probe_differences(votes, torch.tensor([[-1.0, 2.0], [1.0, -1.5]]), 0.005)
        >>> report.zero_share, report.fits, round(report.recommended_mu, 3)
        (1.0, False, 0.215)
    """
    check_positive(mu, "mu")
    check_inputs(z, extras)
    check_count(directions, "directions")
    check_seed(seed)
    count = min(len(z), check_count(samples, "samples"))
    asker = function.asker if isinstance(function, BlackBoxFunction) else Asker(function, None, "drop", max_batch)
    before = asker.count
    points, beside = z[:count].detach(), [extra[:count].detach() for extra in extras]
    share, formed = _zero_share(asker, points, beside, mu, directions, seed)
    best, best_share = mu, share
    if share > _TOO_MANY_ZEROS and (wide := _spread_or_none(z)) is not None and wide > mu:
        best, (best_share, _) = wide, _zero_share(asker, points, beside, wide, directions, seed)
    sent = asker.count.sent - before.sent
    report = ProbeReport(
        mu=mu,
        zero_share=share,
        recommended_mu=best,
        recommended_zero_share=best_share,
        differences=formed,
        failed=sent - (asker.count.answered - before.answered),
        queries=sent,
    )
    if not formed:
        _log.warning("%s answered no pair of %d probing queries; no mu can mend that.", asker.name, sent)
    elif share > _TOO_MANY_ZEROS:
        advice = "use that, with normal directions and two-sided differences" if best != mu else "try a larger mu"
        _log.warning("%s hardly answers to small steps: %s; %s.", asker.name, report, advice)
    return report


def _zero_share(asker: Asker, z: Tensor, extras: list[Tensor], mu: float, count: int, seed: int) -> tuple[float, int]:
    """Return the share of differences that are exactly 0, NaN if there is none, and how many were formed."""
    plan = sampled(
        RGE(mu=mu, q=count, difference="central"), len(z), z[0].numel(), seed=seed, context=_PROBE_DRAW, device=z.device
    )
    steps = plan.steps(slice(0, len(z) * count), z.dtype)
    owners = torch.arange(len(z), device=z.device).repeat_interleave(count)
    here = z.reshape(len(z), -1)[owners]
    asked = torch.cat((here + steps, here - steps)).view(-1, *z.shape[1:])
    plus, minus = asker.ask(asked, [torch.cat((extra[owners], extra[owners])) for extra in extras]).chunk(2)
    difference = (plus - minus).reshape(len(plus), -1)
    formed = torch.isfinite(difference).all(1)
    number = int(formed.sum())
    return (int((difference[formed] == 0).all(1).sum()) / number if number else float("nan")), number


def _spread_mu(z: Tensor) -> float:
    """Return 0.15 times the standard deviation of z's entries.

    Raises:
        InvalidBatch: If z is no finite tensor or has no spread.
    """
    if not isinstance(z, Tensor) or not z.is_floating_point() or not z.numel() or not bool(torch.isfinite(z).all()):
        raise InvalidBatch(f"z must be a finite floating-point tensor, got {brief(z)}.")
    spread = _spread_or_none(z)
    if spread is None:
        raise InvalidBatch("all entries of z are equal, so there is no spread to fit mu to; give mu as a number.")
    return spread


def _spread_or_none(z: Tensor) -> float | None:
    spread = float(z.detach().double().std(correction=0))
    return SHARE_OF_SPREAD * spread if spread > 0 else None
