"""What a defense is measured by: accuracy along the way, certificates beside their baselines at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from problems.defense.composite import Defense
from zotoolkit.certification import Certification, certify
from zotoolkit.certification.settings import SmoothingSettings
from zotoolkit.checks import check_count, check_least
from zotoolkit.query_models import QueryEstimate, QueryModel, estimate_queries
from zotoolkit.query_models.budget import CERTIFICATION
from zotoolkit.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from problems.defense.defend_classifier import DefendClassifier
    from problems.defense.images import DefenseImages

EVALUATION = "evaluation"
_NOISE_DRAW, _CERTIFY_DRAW = 0xDEF8, 0xDEF9


@dataclass(frozen=True)
class Measures:
    """How much is measured.

    Args:
        images: Test images that are certified, the same for all defenses; also those of the accuracies along the way.
        n0: Noisy samples an image for choosing the class.
        n: Noisy samples an image for its bound.
        alpha: Probability at most with which a certificate is wrong.
        radii: At which certified accuracy is reported, in units of pixels.
        baselines: Whether what the defense is to be held against is certified too: the classifier alone
            ("undefended"), the defense as it was before training ("untrained"), and where there is an auto-encoder the
            denoiser without it, as it was before training ("denoised").
        chunk: Images that are sent together.

    Raises:
        InvalidSetting: If a number is out of its range.
    """

    images: int = 200
    n0: int = 100
    n: int = 1_000
    alpha: float = 0.001
    radii: tuple[float, ...] = (0.0, 0.25, 0.5)
    baselines: bool = True
    chunk: int = 1_024

    def __post_init__(self) -> None:
        for name in ("images", "n0", "n", "chunk"):
            check_count(getattr(self, name), name)
        SmoothingSettings(1.0, self.n0, self.n, self.alpha)
        for radius in self.radii:
            check_least(radius, 0.0, "radius")

    def quick(self, objective: DefendClassifier, defense: nn.Module) -> dict[str, float]:
        """Return the defense's accuracy on clean and on once noised test images; two images are sent for each.

        NaN where the budget does not cover that besides certification.
        """
        clean, labels = self._chosen(objective)
        end = self.estimate(objective.images, autoencoder=objective.defense.decoder is not None)
        budget = objective.model.budget
        if budget is not None and budget.shortfall(end.by_purpose() | {EVALUATION: 2 * len(clean)}):
            return {"clean_accuracy": float("nan"), "noisy_accuracy": float("nan")}
        drawn = torch.randn(clean.shape, generator=torch_generator(0, _NOISE_DRAW))
        with objective.model.spending(EVALUATION):
            return {
                f"{name}_accuracy": float((self._answers(objective, defense, part) == labels).double().mean())
                for name, part in (("clean", clean), ("noisy", clean + objective.sigma * drawn))
            }

    def final(self, objective: DefendClassifier, defense: Defense) -> dict[str, float]:
        """Return certified accuracies at the radii, of the defense and of what it is to be compared with.

        Raises:
            DriftDetected: If the classifier no longer answers as it did before: no certificate holds then.
        """
        ways: dict[str, nn.Module | None] = {"certified": defense}
        if self.baselines:
            untrained = objective.defended(objective.start())
            ways |= {"undefended": None, "untrained": untrained}
            if untrained.decoder is not None:
                ways["denoised"] = untrained.front.denoiser
        # Of the first training query, where there was one: what was trained for another classifier is told too.
        objective.probe.record()
        found = {name: self.certification(objective, way) for name, way in ways.items()}
        objective.probe.check()
        figures = {
            f"{name}_{radius:g}": float(share)
            for name, certification in found.items()
            for radius, share in zip(self.radii, certification.certified_accuracy(self.radii), strict=True)
        }
        figures["average_radius"] = found["certified"].average_certified_radius
        figures["abstained"] = found["certified"].abstention_rate
        labels = self._chosen(objective)[1]
        figures["constant"] = int(labels.bincount().max()) / len(labels)
        return figures

    def certification(
        self, objective: DefendClassifier, defense: nn.Module | None, *, n: int | None = None, seed: int = 0
    ) -> Certification:
        """Certify test images of a defense in front of the objective's classifier.

        Args:
            objective: Whose classifier, images and sigma are used.
            defense: In evaluation mode; None for the classifier alone.
            n: Samples in place of `self.n`.
            seed: Of the noise.
        """
        images, labels = self._chosen(objective)
        with objective.model.spending(CERTIFICATION):
            return certify(
                lambda noisy: self._answers(objective, defense, noisy),
                images,
                labels,
                sigma=objective.sigma,
                n0=self.n0,
                n=self.n if n is None else n,
                alpha=self.alpha,
                seed=derive_seed(seed, _CERTIFY_DRAW),
                classes=objective.model.classes,
                chunk=self.chunk,
                radii=self.radii,
            )

    def estimate(self, images: DefenseImages, *, autoencoder: bool) -> QueryEstimate:
        """Return how many images certification and the drift probe send at most, baselines included."""
        ways = (3 + autoencoder) if self.baselines else 1
        certified = min(self.images, len(images.test))
        return estimate_queries(certified_images=ways * certified, n0=self.n0, n=self.n, drift_probes=1)

    def _chosen(self, objective: DefendClassifier) -> tuple[Tensor, Tensor]:
        images = objective.images
        if self.images < len(images.test):
            images = images.subset(test=self.images)
        return images.test, images.test_labels

    def _answers(self, objective: DefendClassifier, defense: nn.Module | None, images: Tensor) -> Tensor:
        model: QueryModel = objective.model
        if defense is None:
            return model.predict(images)
        labels: list[Tensor] = []
        with torch.no_grad():
            for block in images.split(self.chunk):
                labels.append(model.predict(defense(block.to(objective.device))).cpu())
        return torch.cat(labels)
