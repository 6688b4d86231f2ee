"""Certificates put to the test: attacks of a well-kept library on the smoothed classifier, within the certified radius.

A certificate says that the smoothed classifier g gives one answer everywhere within a ball. Two attacks of IBM's
Adversarial Robustness Toolbox look for a point of the ball where it does not:

    pgd             projected gradient descent in l2 on the mean of the softmax over noise draws, so that the gradient
                    is that of the smoothed classifier and not of the classifier under it; needs a torch module
    hop-skip-jump   needs nothing but g's answers: it looks for the nearest point with another answer, wherever it lies

The verdict is by a fresh vote at the point found, with noise that neither the attack nor the certificate has seen. A
point that hop-skip-jump finds outside of the ball is pulled back to its edge.

Source: Madry et al., ICLR 2018 (PGD); Salman et al., NeurIPS 2019 (attacking the smoothed classifier); Chen, Jordan and
Wainwright, HopSkipJumpAttack, IEEE S&P 2020.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from typing_extensions import override

from zotoolkit.certification.bounds import upper_bound
from zotoolkit.certification.certificate import Certification
from zotoolkit.certification.classifiers import as_predict
from zotoolkit.certification.counting import Asker
from zotoolkit.certification.counts import Tally
from zotoolkit.certification.inputs import check_images, fingerprint
from zotoolkit.certification.noise import Stage, noisy, standard_normals
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import InvalidImages, InvalidSetting, MissingExtra, brief

Attack = Literal["pgd", "hop-skip-jump"]
ATTACKS: tuple[Attack, ...] = ("pgd", "hop-skip-jump")
_HALVINGS = 12


@dataclass(frozen=True)
class AttackSettings:
    """How hard the attacks try.

    Args:
        fraction: Of the certified radius that a perturbation may have. Below 1, since a certificate holds within the
            ball and not on its edge; above 1 it is a control, which shows that the attack would find what is there.
        steps: Of PGD.
        draws: Noise draws behind a gradient of PGD, and votes behind an answer to hop-skip-jump.
        iterations: Of hop-skip-jump.
        evaluations: Answers that hop-skip-jump takes for its first gradient; later ones take more.
        chunk: Most images that are sent to the classifier together.

    Raises:
        InvalidSetting: If one is out of its range.
    """

    fraction: float = 0.999
    steps: int = 30
    draws: int = 100
    iterations: int = 10
    evaluations: int = 50
    chunk: int = 512

    def __post_init__(self) -> None:
        check_positive(self.fraction, "fraction")
        for name in ("steps", "draws", "iterations", "evaluations", "chunk"):
            check_count(getattr(self, name), name)


@dataclass(frozen=True)
class Outcome:
    """What one attack on one image came to.

    Attributes:
        attack: Its name.
        index: The image's key.
        radius: Certified.
        norm: l2 length of the perturbation that was judged; at most `fraction` of the radius.
        distance: At which hop-skip-jump found another answer, NaN if it found none; NaN for PGD.
        certified: The certified class.
        voted: The class with most votes at the perturbed image.
        successes: Votes for the certified class there.
        samples: Votes asked for there.
    """

    attack: str
    index: int
    radius: float
    norm: float
    distance: float
    certified: int
    voted: int
    successes: int
    samples: int

    @property
    def changed(self) -> bool:
        """Whether the smoothed prediction is another one, by the vote."""
        return self.voted != self.certified

    def refuted(self, alpha: float) -> bool:
        """Whether the certificate is wrong with confidence 1 - alpha: the class's probability is below 1/2 there."""
        return float(upper_bound(self.successes, self.samples, alpha)) < 0.5


@dataclass(frozen=True)
class AttackReport:
    """All outcomes.

    Attributes:
        outcomes: One an attack and image.
        alpha: Of the certificates.
    """

    outcomes: tuple[Outcome, ...]
    alpha: float

    @property
    def changed(self) -> int:
        """How many attacks changed a smoothed prediction within its certified radius."""
        return sum(outcome.changed for outcome in self.outcomes)

    @property
    def refuted(self) -> int:
        """How many certificates are refuted with confidence 1 - alpha each."""
        return sum(outcome.refuted(self.alpha) for outcome in self.outcomes)

    def summary(self) -> list[dict[str, Any]]:
        """Return a row an attack: images, changed, refuted, the least and the median share of votes that the certified
        class kept, and the nearest other answer as a multiple of the radius (None if there is none).
        """
        rows: list[dict[str, Any]] = []
        for name in dict.fromkeys(outcome.attack for outcome in self.outcomes):
            mine = [outcome for outcome in self.outcomes if outcome.attack == name]
            shares = [outcome.successes / outcome.samples for outcome in mine]
            found = [outcome.distance / outcome.radius for outcome in mine if not math.isnan(outcome.distance)]
            rows.append(
                {
                    "attack": name,
                    "images": len(mine),
                    "changed": sum(outcome.changed for outcome in mine),
                    "refuted": sum(outcome.refuted(self.alpha) for outcome in mine),
                    "least_share": min(shares),
                    "median_share": float(np.median(shares)),
                    "nearest": min(found, default=None),
                    "median_nearest": float(np.median(found)) if found else None,
                }
            )
        return rows


def attack(
    classifier: object,
    certification: Certification,
    x: Tensor | NDArray,
    *,
    module: nn.Module | None = None,
    attacks: Sequence[Attack] = ATTACKS,
    settings: AttackSettings | None = None,
    samples: int | None = None,
    progress: bool = False,
) -> AttackReport:
    """Attack every certified image within its radius.

    Args:
        classifier: What was certified.
        certification: Its certificates.
        x: The images of the certification, in its order.
        module: Whose gradients PGD takes; by default the classifier, if it is a torch module. Another one makes it a
            transfer attack.
        attacks: Which ones.
        settings: How hard they try.
        samples: Votes of the verdict; by default the certification's n.
        progress: Whether to show a progress bar on standard error.

    Returns:
        What each attack on each image with a radius above 0 came to. Hop-skip-jump draws from NumPy's global generator,
        so its part is not the same every time.

    Raises:
        InvalidSetting: If an attack is unknown, or PGD has no torch module.
        InvalidImages: If x is not what was certified.
        MissingExtra: If the Adversarial Robustness Toolbox is not installed.
    """
    _check_art()
    for name in attacks:
        check_choice(name, ATTACKS, "attack")
    images = _checked_images(x, certification)
    gradients = module if module is not None else classifier
    if "pgd" in attacks and not isinstance(gradients, nn.Module):
        raise InvalidSetting(
            f"pgd needs gradients: give module=, or attacks=('hop-skip-jump',); got {brief(classifier)}."
        )
    settings = settings or AttackSettings()
    votes = _Votes(classifier, certification, settings, check_count(samples or certification.n, "samples"))
    outcomes: list[Outcome] = []
    rows = [row for row in range(len(images)) if certification.radii[row] > 0]
    with tqdm(total=len(rows) * len(attacks), unit=" attacks", file=sys.stderr, disable=not progress) as bar:
        for name in attacks:
            for row in rows:
                if name == "pgd" and isinstance(gradients, nn.Module):
                    delta = _pgd(gradients, certification, images, row, settings)
                    outcomes.append(votes.judge(name, images[row], row, delta, math.nan))
                else:
                    found = _hop_skip_jump(votes, certification, images, row, settings)
                    distance = math.nan if found is None else float(found.norm())
                    delta = torch.zeros_like(images[row]) if found is None else found
                    outcomes.append(votes.judge(name, images[row], row, delta, distance))
                bar.update()
    return AttackReport(tuple(outcomes), certification.alpha)


class _Votes:
    """The smoothed classifier, by votes."""

    def __init__(
        self, classifier: object, certification: Certification, settings: AttackSettings, samples: int
    ) -> None:
        self._asker = Asker(as_predict(classifier), settings.chunk, certification.settings.classes)
        self._certification = certification
        self._settings = settings
        self._samples = samples
        seen = int(certification.votes().shape[1])
        self.classes = max(seen, 2)

    def shares(self, images: Tensor, key: int) -> NDArray[np.float32]:
        """Return the `(b, classes)` shares of votes at `(b, *shape)` images.

        All with the same noise draws: hop-skip-jump searches for ever where an answer is another one every time.
        """
        noise = standard_normals(
            self._certification.settings.seed, key, Stage.ATTACK, 0, self._settings.draws, images[0].numel()
        )
        scaled = (self._certification.sigma * noise).to(images).view(-1, *images.shape[1:])
        shares = np.zeros((len(images), self.classes), dtype=np.float32)
        together = max(1, self._settings.chunk // len(scaled))
        for start in range(0, len(images), together):
            part = images[start : start + together]
            labels = self._asker.labels((part[:, None] + scaled).flatten(0, 1)).reshape(len(part), len(scaled))
            for label in range(self.classes):
                shares[start : start + together, label] = (labels == label).mean(axis=1)
        return shares

    def judge(self, name: str, image: Tensor, row: int, delta: Tensor, distance: float) -> Outcome:
        """Pull a perturbation into the ball and vote there."""
        certification = self._certification
        radius = float(certification.radii[row])
        allowed = self._settings.fraction * radius
        length = float(delta.double().norm())
        if length > allowed:
            delta = delta * (allowed / length)
        tally = Tally()
        key, seed = int(certification.indices[row]), certification.settings.seed
        for start in range(0, self._samples, self._settings.chunk):
            stop = min(self._samples, start + self._settings.chunk)
            tally.add(
                self._asker.labels(noisy(image + delta, certification.sigma, seed, key, Stage.VALIDATION, start, stop))
            )
        certified = int(certification.predicted[row])
        return Outcome(
            attack=name,
            index=key,
            radius=radius,
            norm=float(delta.double().norm()),
            distance=distance,
            certified=certified,
            voted=tally.top(),
            successes=tally.votes.get(certified, 0),
            samples=self._samples,
        )


class _Smoothed(nn.Module):
    """Logarithm of the mean softmax over fixed noise draws, whose gradient is the smoothed classifier's."""

    def __init__(self, module: nn.Module, noise: Tensor) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("noise", noise)

    @override
    def forward(self, images: Tensor) -> Tensor:
        draws = self.get_buffer("noise")
        noisy_images = (images[:, None] + draws[None]).flatten(0, 1)
        mean = self.module(noisy_images).softmax(dim=1).view(len(images), len(draws), -1).mean(dim=1)
        return mean.clamp_min(1e-12).log()


def _pgd(module: nn.Module, certification: Certification, images: Tensor, row: int, settings: AttackSettings) -> Tensor:
    """Return the perturbation of one image that PGD ends with."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    image, key = images[row], int(certification.indices[row])
    draws = standard_normals(certification.settings.seed, key, Stage.ATTACK, 0, settings.draws, image.numel())
    smoothed = _Smoothed(module, (certification.sigma * draws).to(image).view(-1, *image.shape)).eval()
    with torch.no_grad():
        classes = smoothed(image[None]).shape[1]
    estimator = PyTorchClassifier(
        smoothed,
        nn.CrossEntropyLoss(),
        tuple(image.shape),
        classes,
        device_type="gpu" if image.is_cuda else "cpu",
    )
    allowed = settings.fraction * float(certification.radii[row])
    # Steps that could cross the ball two and a half times, as Madry et al. have it.
    method = ProjectedGradientDescent(
        estimator, norm=2, eps=allowed, eps_step=2.5 * allowed / settings.steps, max_iter=settings.steps, verbose=False
    )
    label = np.array([certification.predicted[row]])
    found = method.generate(image[None].cpu().numpy(), y=label)
    return torch.from_numpy(found[0]).to(image) - image


def _hop_skip_jump(
    votes: _Votes, certification: Certification, images: Tensor, row: int, settings: AttackSettings
) -> Tensor | None:
    """Return the perturbation of one image to the nearest other answer that is found, None if none is."""
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifier

    image, key = images[row], int(certification.indices[row])
    start = _nearest_of_another_class(images, certification.selected, row)
    if start is None:
        return None

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return votes.shares(torch.from_numpy(np.asarray(batch)).to(image), key)

    margin = 3 * certification.sigma  # the theorem knows no range of pixels, so neither does the attack
    limits = (float(images.min()) - margin, float(images.max()) + margin)
    estimator = BlackBoxClassifier(predict, tuple(image.shape), votes.classes, clip_values=limits)
    method = HopSkipJump(
        estimator,
        norm=2,
        max_iter=settings.iterations,
        init_eval=settings.evaluations,
        max_eval=10 * settings.evaluations,
        verbose=False,
    )
    found = method.generate(
        image[None].cpu().numpy().astype(np.float32), x_adv_init=start[None].cpu().numpy().astype(np.float32)
    )
    delta = torch.from_numpy(found[0]).to(image) - image
    certified = certification.predicted[row]

    def another(length: float) -> bool:
        return int(votes.shares((image + length * delta)[None], key)[0].argmax()) != certified

    if float(delta.norm()) == 0 or not another(1.0):
        return None
    # It ends with a step away from the boundary: come back to it.
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if another(middle) else (middle, high)
    return high * delta


def _nearest_of_another_class(images: Tensor, classes: NDArray[np.int64], row: int) -> Tensor | None:
    others = torch.from_numpy(np.flatnonzero(classes != classes[row]))
    if not len(others):
        return None
    distance = (images[others] - images[row]).flatten(1).norm(dim=1)
    return images[others[int(distance.argmin())]]


def _checked_images(x: Tensor | NDArray, certification: Certification) -> Tensor:
    images = check_images(x)
    if len(images) != len(certification):
        raise InvalidImages(f"x must hold the {len(certification)} certified images, got {len(images)}.")
    for image, counts in zip(images, certification.images, strict=True):
        if fingerprint(image) != counts.fingerprint:
            raise InvalidImages(f"x must hold the certified images in their order, but image {counts.index} differs.")
    return images


def _check_art() -> None:
    try:
        import art.attacks.evasion  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "attacks need the Adversarial Robustness Toolbox: pip install 'zotoolkit[attacks]'."
        ) from error
