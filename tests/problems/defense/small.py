"""A defense small enough to look through: 4x4 images in three classes, smooth networks of some dozen parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from problems.defense import DefendClassifier, Defense, DefenseImages, Front, Measures
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.query_models import CallableModel, QueryModel, TorchModel
from zotoolkit.seeding import torch_generator

SIZE, CLASSES, LATENT, BATCH = 4, 3, 4, 8
CPU = torch.device("cpu")


def images(train: int = 24, test: int = 9) -> DefenseImages:
    """Noise around three bright corners, one a class."""
    labels = torch.arange(train + test) % CLASSES
    pixels = 0.5 * torch.rand(train + test, 1, SIZE, SIZE, generator=torch_generator(0, 1))
    for row, label in enumerate(labels.tolist()):
        corner = (
            (slice(None, 2), slice(2 * (label % 2), 2 + 2 * (label % 2))) if label < 2 else (slice(2, 4), slice(0, 2))
        )
        pixels[row, 0][corner] += 0.5
    return DefenseImages(pixels[:train], labels[:train], pixels[train:], labels[train:], CLASSES)


def classifier() -> nn.Module:
    with seeded_randomness(1, CPU):
        return nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 6), nn.Tanh(), nn.Linear(6, CLASSES))


def model(access: str = "logits", **settings: Any) -> QueryModel:
    """The classifier as one that can only be asked."""
    network = classifier()

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = network(x)
        return {"logits": logits, "proba": logits.softmax(1), "label": logits.argmax(1)}[access]

    return of_function(answer, access, **settings)


def of_function(answer: Callable[[Tensor], Any], access: str = "logits", **settings: Any) -> QueryModel:
    settings = {"classes": CLASSES, "input": (1, SIZE, SIZE), **settings}
    return CallableModel(answer, access=access, library="torch", **settings)  # type: ignore[arg-type]


def white(access: str = "logits", **settings: Any) -> TorchModel:
    """The classifier with its gradient."""
    network = classifier()
    module = network if access == "logits" else nn.Sequential(network, nn.Softmax(dim=1))
    settings = {"input": (1, SIZE, SIZE), **settings}
    return TorchModel(module, classes=CLASSES, access=access, **settings)  # type: ignore[arg-type]


def built(seed: int, latent: bool = True, middle: nn.Module | None = None) -> Defense:
    with seeded_randomness(seed + 10, CPU):
        denoiser = nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.BatchNorm2d(2),
            nn.Identity() if middle is None else middle,
            nn.Tanh(),
            nn.Conv2d(2, 1, 3, padding=1),
        )
        if not latent:
            return Defense(Front(denoiser))
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, LATENT))
        decoder = nn.Sequential(nn.Linear(LATENT, SIZE**2), nn.Sigmoid(), nn.Unflatten(1, (1, SIZE, SIZE)))
        return Defense(Front(denoiser, encoder), decoder)


def measures(**settings: Any) -> Measures:
    return Measures(**{"images": 3, "n0": 10, "n": 60, "baselines": False, **settings})


def objective(asked: Any = None, *, latent: bool = True, **settings: Any) -> DefendClassifier:
    settings = {"measures": measures(), "batch_size": BATCH, **settings}
    build = settings.pop("build", lambda seed: built(seed, latent))
    return DefendClassifier(
        model() if asked is None else asked, settings.pop("images", images()), 0.5, build, **settings
    )
