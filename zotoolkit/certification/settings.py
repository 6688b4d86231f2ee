"""What a certification is made with: all that decides its counts, except the classifier and the images."""

from __future__ import annotations

from dataclasses import dataclass

from zotoolkit.certification.bounds import check_probability, max_radius
from zotoolkit.certification.stopping import StoppingRule
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import check_seed


@dataclass(frozen=True)
class SmoothingSettings:
    """The settings of a certification.

    Args:
        sigma: Standard deviation of the noise, in units of the images.
        n0: Samples that choose the class.
        n: Samples that bound its probability; at least n0.
        alpha: Probability at most with which an image's certificate is wrong.
        seed: Of the noise.
        early_abstention: Whether to stop asking about an image whose abstention is decided.
        futility: Probability at most with which an image with p_A >= 1/2 is given up early; None for never.
        classes: Number of classes; None if it is not known beforehand.

    Raises:
        InvalidSetting: If sigma is not positive, alpha or futility outside (0, 1), n0 below 1, n below n0, classes
            below 2, the seed no integer in [0, 2^63), or futility given without early_abstention.
    """

    sigma: float
    n0: int = 100
    n: int = 10_000
    alpha: float = 0.001
    seed: int = 0
    early_abstention: bool = True
    futility: float | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        checked = {
            "sigma": check_positive(self.sigma, "sigma"),
            "n0": check_count(self.n0, "n0"),
            "n": check_count(self.n, "n"),
            "alpha": check_probability(self.alpha, "alpha"),
            "seed": check_seed(self.seed),
            "futility": None if self.futility is None else check_probability(self.futility, "futility"),
            "classes": None if self.classes is None else check_count(self.classes, "classes", least=2),
        }
        if not isinstance(self.early_abstention, bool):
            raise InvalidSetting(f"early_abstention must be True or False, got {brief(self.early_abstention)}.")
        if self.n < self.n0:
            raise InvalidSetting(
                f"n must be at least n0: the bound needs more samples than the choice; got n={self.n} and n0={self.n0}."
            )
        if self.futility is not None and not self.early_abstention:
            raise InvalidSetting("futility is a rule of early abstention; leave early_abstention at True.")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def max_radius(self) -> float:
        """The largest radius that n samples can certify."""
        return max_radius(self.n, self.alpha, self.sigma)

    def stopping_rule(self) -> StoppingRule | None:
        """Return when an image is stopped early; None for never."""
        return StoppingRule(self.n, self.alpha, self.futility) if self.early_abstention else None
