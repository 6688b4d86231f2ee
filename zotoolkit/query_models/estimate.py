"""What a training run and its certification will send, computed before anything is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from zotoolkit.checks import check_count, check_least
from zotoolkit.errors import BudgetSpent, InvalidSetting, brief
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.budget import CERTIFICATION, DRIFT, TRAINING, QueryBudget
from zotoolkit.query_models.drift import PROBES


@dataclass(frozen=True)
class QueryEstimate:
    """Images that will be sent, by purpose.

    Attributes:
        training: During training.
        certification: For certificates.
        drift: For drift probes.
    """

    training: int = 0
    certification: int = 0
    drift: int = 0

    @property
    def total(self) -> int:
        """Images in all."""
        return self.training + self.certification + self.drift

    def by_purpose(self) -> dict[str, int]:
        """Return the images by the names that models count them under."""
        return {TRAINING: self.training, CERTIFICATION: self.certification, DRIFT: self.drift}

    def budget(self, spare: float = 0.0) -> QueryBudget:
        """Return a budget that covers this, with the parts for certification and drift probes reserved.

        Args:
            spare: Share by which everything is raised, for retries.
        """
        spare = check_least(spare, 0, "spare")
        needs = {purpose: count + math.ceil(count * spare) for purpose, count in self.by_purpose().items()}
        reserved = {purpose: needs[purpose] for purpose in (CERTIFICATION, DRIFT) if needs[purpose]}
        return QueryBudget(sum(needs.values()), reserved)

    def check(self, budget: QueryBudget | QueryModel | None) -> None:
        """Make sure that what is left of a budget covers all this; None and a model without a budget cover anything.

        Raises:
            BudgetSpent: If it does not; the message says by how much.
        """
        if isinstance(budget, QueryModel):
            budget = budget.budget
        if budget is None:
            return
        missing = budget.shortfall(self.by_purpose())
        if missing:
            left = "; ".join(f"{budget.remaining(p):,} are left for {p}" for p, n in self.by_purpose().items() if n)
            raise BudgetSpent(
                f"the budget is {missing:,} images short of {self}: {left}. Nothing was sent. Raise the budget of "
                f"{budget.total:,}, its reserves included, or ask for less."
            )

    def __str__(self) -> str:
        parts = ", ".join(f"{count:,} for {purpose}" for purpose, count in self.by_purpose().items() if count)
        return f"{self.total:,} images ({parts})" if parts else "0 images"


def estimate_queries(
    *,
    steps: int = 0,
    batch_size: int = 0,
    queries_per_image: int = 0,
    clean_images: int = 0,
    certified_images: int = 0,
    n0: int = 100,
    n: int = 10_000,
    drift_probes: int = 0,
    failure_rate: float = 0.0,
) -> QueryEstimate:
    """Return how many images will be sent.

        training       steps * batch_size * queries_per_image + clean_images
        certification  certified_images * (n0 + n)
        drift          2 * drift_probes * 16

    each divided by 1 - failure_rate, since what fails is sent again.

    Args:
        steps: Training steps.
        batch_size: Images a step.
        queries_per_image: For one image in one step: q + 1 with q one-sided random directions, 2 q with two-sided ones,
            2 d_z with central differences along the d_z coordinates of a latent.
        clean_images: Clean images whose labels are asked for once, as stability training does.
        certified_images: Images that get a certificate.
        n0: Noisy samples an image for choosing the class.
        n: Noisy samples an image for the bound; an upper limit where images are given up early.
        drift_probes: Probes of 16 inputs, asked before and after.
        failure_rate: Share of the images sent that stay without an answer, in [0, 1).

    Raises:
        InvalidSetting: If a number is out of its range.

    Examples:
        >>> estimate = estimate_queries(steps=800, batch_size=64, queries_per_image=32, certified_images=200, n=1000)
        >>> print(estimate)
        1,858,400 images (1,638,400 for training, 220,000 for certification)
        >>> estimate.check(QueryBudget(2_000_000, reserved={"certification": 400_000}))
        Traceback (most recent call last):
        ...
        zotoolkit.errors.BudgetSpent: the budget is 38,400 images short of 1,858,400 images (1,638,400 for training,
        220,000 for certification): 1,600,000 are left for training; 2,000,000 are left for certification. Nothing was
        sent. Raise the budget of 2,000,000, its reserves included, or ask for less.
    """
    named = {
        "steps": steps,
        "batch_size": batch_size,
        "queries_per_image": queries_per_image,
        "clean_images": clean_images,
        "certified_images": certified_images,
        "n0": n0,
        "n": n,
        "drift_probes": drift_probes,
    }
    for name, count in named.items():
        check_count(count, name, least=0)
    if isinstance(failure_rate, bool) or not isinstance(failure_rate, Real) or not 0 <= float(failure_rate) < 1:
        raise InvalidSetting(f"failure_rate must be a number in [0, 1), got {brief(failure_rate)}.")

    def sent(images: int) -> int:
        return math.ceil(images / (1 - failure_rate))

    return QueryEstimate(
        training=sent(steps * batch_size * queries_per_image + clean_images),
        certification=sent(certified_images * (n0 + n)),
        drift=sent(2 * drift_probes * PROBES),
    )
