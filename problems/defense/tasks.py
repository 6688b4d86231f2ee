"""The family's registered problems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from problems.defense.classifiers import fixed_resnet, gradient_boosting, random_forest, small_cnn
from problems.defense.composite import Defense, Front
from problems.defense.defend_classifier import DefendClassifier
from problems.defense.images import DefenseImages
from problems.defense.measuring import Measures
from problems.defense.networks import Decoder, DnCNN, Encoder
from problems.defense.pretraining import pretrain_autoencoder, pretrain_denoiser
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.engines.base import Arithmetic, seeded_randomness
from zotoolkit.errors import InvalidSetting
from zotoolkit.query_models import (
    InputSpec,
    QueryBudget,
    QueryEstimate,
    QueryModel,
    SklearnModel,
    TorchModel,
    as_query_model,
)
from zotoolkit.query_models.answers import ACCESSES
from zotoolkit.query_models.budget import CERTIFICATION, DRIFT
from zotoolkit.seeding import derive_seed

CLASSIFIERS = ("forest", "boosting", "cnn")
INITIAL = ("mse", "random")
_INIT_DRAW = 0xDEA
# Noise on the auto-encoder's input while it is pre-trained, as a share of sigma: with it the decoder maps more of the
# latent to images. On held-out training digits (sigma 0.5, forest, r = 0.25) 0.4, 0.6 and 0.8 of sigma gave certified
# accuracies of 0.70, 0.71 and 0.72, and clean ones of 0.975, 0.955 and 0.96.
_LATENT_NOISE = 0.6


def defend_digits(
    classifier: str | Any = "forest",
    access: str | None = None,
    sigma: float = 0.5,
    depth: int = 4,
    width: int = 16,
    latent: int = 16,
    autoencoder_width: int = 16,
    initial: str = "mse",
    loss: str = "auto",
    labels: Literal["own", "true"] = "own",
    mse_weight: float = 0.0,
    levels: int | None = None,
    batch_size: int = 64,
    arithmetic: Arithmetic = "float32",
    image_budget: int | None = None,
    certified_images: int = 200,
    n: int = 1_000,
    baselines: bool = True,
    device: torch.device | str = "cpu",
) -> DefendClassifier:
    """Defend a classifier of scikit-learn's digits that can only be queried.

    Args:
        classifier: "forest" and "boosting", which have no gradient, "cnn", or a classifier of one's own: whatever
            `zotoolkit.query_models.as_query_model` takes, such as an estimator, the path of an ONNX file or an address.
        access: "proba", "logits" or "label"; None for the most that the classifier tells. Not for a `QueryModel`, which
            has its own, like levels and image_budget.
        sigma: Standard deviation of the noise, in units of pixels from 0 to 1.
        depth: Convolutions of the denoiser, a DnCNN.
        width: Channels between them.
        latent: d_z, size of the latent between encoder and decoder; 0 for a denoiser alone.
        autoencoder_width: Channels of the encoder's first layer.
        initial: "mse" starts from denoiser and encoder pre-trained without a query, "random" from an untrained
            denoiser; encoder and decoder are pre-trained in either case.
        loss: As in `DefendClassifier`, like those that follow.
        labels: "own" or "true".
        mse_weight: Of the reconstruction error beside the loss.
        levels: 256 rounds what the classifier sees to 8 bits, as an interface that takes images does.
        batch_size: Images a mini-batch.
        arithmetic: "float32" or "bfloat16", for parameter queries.
        image_budget: Images that may be sent in all, those of certification kept back; None for any number. When
            training has spent its part it ends.
        certified_images: Test images that are certified at the end.
        n: Noisy samples behind a certificate.
        baselines: Whether the undefended classifier and the untrained defense are certified too.
        device: Where the denoiser runs.

    Raises:
        InvalidSetting: If a setting is out of range, or image_budget does not cover certification.
        BudgetSpent: If it does not cover the classifier's own labels of the training images besides.
    """
    images = DefenseImages.digits()
    measures = Measures(images=certified_images, n=n, baselines=baselines)
    needs = measures.estimate(images, autoencoder=check_count(latent, "latent", least=0) > 0)
    model = _digits_classifier(classifier, images, access, levels, _budget(image_budget, needs))
    return _objective(
        model,
        images,
        sigma,
        sizes=(depth, width, latent, autoencoder_width),
        initial=initial,
        pretraining_lr=1e-2,
        loss=loss,
        labels=labels,
        mse_weight=mse_weight,
        batch_size=batch_size,
        arithmetic=arithmetic,
        measures=measures,
        device=device,
        name=f"Defense of a {classifier}" if isinstance(classifier, str) else "Defense",
    )


def defend_cifar10(
    checkpoint: str | Path,
    folder: str | Path | None = None,
    sigma: float = 0.25,
    depth: int = 17,
    width: int = 64,
    latent: int = 192,
    autoencoder_width: int = 24,
    initial: str = "mse",
    loss: str = "auto",
    labels: Literal["own", "true"] = "own",
    mse_weight: float = 0.0,
    batch_size: int = 256,
    arithmetic: Arithmetic = "float32",
    train_samples: int | None = None,
    certified_images: int = 500,
    n: int = 10_000,
    baselines: bool = True,
    device: torch.device | str = "cpu",
) -> DefendClassifier:
    """Defend a residual network of CIFAR-10, with the networks of Zhang et al. (ICLR 2022).

    Args:
        checkpoint: A safetensors file of the classifier; `python -m problems.defense.classifiers.train_resnet` makes
            one.
        folder: Where the data files lie, as in `problems.dnn.cifar10`.
        sigma: As in `defend_digits`, like those that follow.
        depth: Of the denoiser.
        width: Of the denoiser.
        latent: d_z.
        autoencoder_width: Of the encoder.
        initial: "mse" or "random".
        loss: "auto", "cross-entropy" or "zero-one".
        labels: "own" or "true".
        mse_weight: Of the reconstruction error.
        batch_size: Images a mini-batch.
        arithmetic: For parameter queries.
        train_samples: Training images, None for all 50,000.
        certified_images: Test images that are certified.
        n: Noisy samples behind a certificate.
        baselines: Whether baselines are certified too.
        device: Where the networks run.

    Raises:
        DataMissing: If the data files are not there.
        InvalidSetting: If a setting is out of range.
    """
    images = DefenseImages.cifar10(folder, train=train_samples)
    fixed = fixed_resnet(checkpoint, images)
    model = TorchModel(
        fixed.model.to(device), input=images.shape, classes=images.classes, batch_size=1024, name=fixed.facts.name
    )
    return _objective(
        model,
        images,
        sigma,
        sizes=(depth, width, latent, autoencoder_width),
        initial=initial,
        pretraining_lr=1e-3,  # at 1e-2 a DnCNN of 17 layers of 64 channels is three times as far off after 40 steps
        loss=loss,
        labels=labels,
        mse_weight=mse_weight,
        batch_size=batch_size,
        arithmetic=arithmetic,
        measures=Measures(images=certified_images, n=n, baselines=baselines, radii=(0.0, 0.25, 0.5, 0.75)),
        device=device,
        name="Defense of a ResNet on CIFAR-10",
    )


def _objective(
    model: QueryModel,
    images: DefenseImages,
    sigma: float,
    *,
    sizes: tuple[int, int, int, int],
    initial: str,
    pretraining_lr: float,
    device: torch.device | str,
    **settings: Any,
) -> DefendClassifier:
    depth, width, latent, autoencoder_width = sizes
    check_choice(initial, INITIAL, "initial")
    check_count(latent, "latent", least=0)
    check_positive(sigma, "sigma")
    channels, size, _ = images.shape

    def denoiser() -> nn.Module:
        return DnCNN(depth, width, channels)

    def build(seed: int) -> Defense:
        if initial == "mse":
            first = pretrain_denoiser(denoiser, images, sigma, lr=pretraining_lr, seed=seed, device=device).module
        else:
            with seeded_randomness(derive_seed(seed, _INIT_DRAW), torch.device("cpu")):
                first = denoiser()
        if not latent:
            return Defense(Front(first))
        encoder, decoder = pretrain_autoencoder(
            lambda: Encoder(size, channels, latent, autoencoder_width),
            lambda: Decoder(size, channels, latent, autoencoder_width),
            images,
            noise=_LATENT_NOISE * sigma,
            lr=pretraining_lr,
            seed=seed,
            device=device,
        ).module
        return Defense(Front(first, encoder), decoder)

    return DefendClassifier(model, images, sigma, build, device=device, **settings)


def _budget(image_budget: int | None, needs: QueryEstimate) -> QueryBudget | None:
    """Return a budget with the images of certification and of drift probes kept back.

    Raises:
        InvalidSetting: If it does not even cover these.
    """
    if image_budget is None:
        return None
    if check_count(image_budget, "image_budget") <= needs.total:
        raise InvalidSetting(
            f"image_budget must be more than what certification alone may send, {needs}, got {image_budget:,}; raise "
            "it, or certify fewer images (certified_images), with fewer samples (n) or without baselines."
        )
    return QueryBudget(image_budget, reserved={CERTIFICATION: needs.certification, DRIFT: needs.drift})


def _digits_classifier(
    classifier: Any, images: DefenseImages, access: str | None, levels: int | None, budget: QueryBudget | None
) -> QueryModel:
    if isinstance(classifier, QueryModel):
        given = {"access": access, "levels": levels, "image_budget": budget}
        if mine := [name for name, value in given.items() if value is not None]:
            raise InvalidSetting(f"{classifier!r} has its settings already; it cannot take {', '.join(mine)}.")
        return classifier
    settings: dict[str, Any] = {"input": InputSpec(images.shape, levels=levels), "budget": budget}
    if isinstance(classifier, str) and classifier in CLASSIFIERS:
        return _built_in(classifier, images, access, settings)
    if isinstance(classifier, str) and not classifier.lower().startswith(("http://", "https://")):
        if not classifier.lower().endswith(".onnx"):
            check_choice(classifier, CLASSIFIERS, "classifier")
    elif not isinstance(classifier, (str, os.PathLike)):
        settings["batch_size"] = 4096
        estimator = any(hasattr(classifier, name) for name in ("predict_proba", "decision_function", "predict"))
        if isinstance(classifier, nn.Module) or not estimator:
            settings["classes"] = images.classes
    return as_query_model(classifier, **settings, **({} if access is None else {"access": access}))


def _built_in(name: str, images: DefenseImages, access: str | None, settings: dict[str, Any]) -> QueryModel:
    settings = {**settings, "batch_size": 4096, "name": name}
    if name != "cnn":
        made = random_forest(images) if name == "forest" else gradient_boosting(images)
        return SklearnModel(made.model, access=access, **settings)  # type: ignore[arg-type]
    kind = check_choice("logits" if access is None else access, ACCESSES, "access")
    network: nn.Module = small_cnn(images).model
    if kind != "logits":
        network = nn.Sequential(network, nn.Softmax(dim=1) if kind == "proba" else Largest())
    return TorchModel(network, classes=images.classes, access=kind, **settings)  # type: ignore[arg-type]


class Largest(nn.Module):
    """From `(k, classes)` scores to the `(k,)` labels of the largest, which is all that label access tells."""

    @override
    def forward(self, scores: Tensor) -> Tensor:
        return scores.argmax(dim=1)
