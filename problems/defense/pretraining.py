"""Training a denoiser and an auto-encoder before any query is spent, from clean images alone.

    denoiser       minimise  mean (D(x + n) - x)^2,       n ~ N(0, sigma^2)    ("mse"; DS-MSE)
                   or        CE(f(D(x + n)), argmax f(x))                      ("stability"; f must be white-box)
    auto-encoder   minimise  mean (decoder(encoder(x + n)) - x)^2,   n ~ N(0, noise^2)

Defaults are those that did best, for their time, on held-out training digits at sigma = 0.5, with DnCNN 4x16 and a
latent of 16. At lr = 1e-3 in batches of 64 Adam takes too few steps: 40 epochs leave the denoiser's error at 0.063
instead of 0.037, 80 epochs that of an auto-encoder of width 8 at 0.031 instead of 0.008. Noise of 0.2 costs an
auto-encoder of width 16 some reconstruction (0.0086; 0.0067 after 80 epochs without noise), and its decoder makes
digits of more of the latent: behind the denoiser, a random forest's certified accuracy at r = 0.25 was 0.39 instead of
0.35 (200 images, one seed). A DnCNN 17x64 wants a lower lr, such as the papers' 1e-3: over its first 40 steps on
CIFAR-10 at sigma = 0.25 the mean loss was 0.41 at 1e-2, 0.15 at 1e-3.

Source: Salman et al., Denoised Smoothing, NeurIPS 2020, section 3.1; Zhang et al., How to Robustify Black-Box ML
Models? A Zeroth-Order Optimization Perspective, ICLR 2022, section 4.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar, Union

import torch
from torch import Tensor, nn
from torch.nn import functional

from problems.defense.classifiers.fixed import frozen
from problems.defense.fitting import BatchLoss, Schedule, fit
from problems.defense.images import DefenseImages
from zotoolkit.artifacts import State, architecture, fingerprint, kept
from zotoolkit.checks import check_choice, check_device, check_least, check_positive
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import derive_seed

Network = Union[nn.Module, Callable[[], nn.Module]]
"""A network, or a function that builds one; what the function draws is then keyed by the seed."""

M = TypeVar("M")

LOSSES = ("mse", "stability")
_INIT_DRAW = 0xDE7
_VERSION = 1  # of the training below: another one leaves former networks in the cache alone


@dataclass(frozen=True)
class PretrainingRecord:
    """How a pre-training went.

    Attributes:
        epochs: Passes over the training images.
        seconds: Wall-clock time that it took, when it was done.
        loss: Mean training loss of the last epoch.
        cached: Whether the networks were read from the cache.
    """

    epochs: int
    seconds: float
    loss: float
    cached: bool


@dataclass(frozen=True, eq=False)
class Pretrained(Generic[M]):
    """What was pre-trained, in evaluation mode, and how it went.

    Attributes:
        module: A denoiser, or a pair of encoder and decoder.
        record: Epochs, seconds, loss, cached or not.
    """

    module: M
    record: PretrainingRecord


def pretrain_denoiser(
    module: Network,
    images: DefenseImages,
    sigma: float,
    *,
    epochs: int = 80,
    batch_size: int = 32,
    lr: float = 1e-2,
    seed: int = 0,
    loss: str = "mse",
    classifier: nn.Module | None = None,
    device: torch.device | str = "cpu",
    cache: bool = True,
    progress: bool = False,
) -> Pretrained[nn.Module]:
    """Train a denoiser on noisy training images, without any query.

    Noise is never clipped. Images, batches and noise are keyed by the seed, so equal arguments give equal parameters.

    Args:
        module: From `(n, C, H, W)` to the same; trained in place. Or a function that builds it.
        images: Whose training part is denoised.
        sigma: Standard deviation of the noise, in units of pixels.
        epochs: Passes over the training images, each with new noise.
        batch_size: Images a step.
        lr: Adam's learning rate at the start; a cosine takes it to 0.
        seed: Of noise, batches and, of a function, initialisation.
        loss: "mse", or "stability": cross-entropy to the classifier's own label of the clean image.
        classifier: For "stability" only: back-propagated through, so no black box; a surrogate may be. Left as it is.
        device: That it is trained on. The module comes back on this device.
        cache: Whether it may come from the cache and is kept there; see `zotoolkit.artifacts`.
        progress: Whether to show a bar.

    Raises:
        InvalidSetting: If a setting is out of range, the module's output has another shape, or training diverges.

    Examples:
        >>> images = DefenseImages.digits().subset(train=64)
        >>> build = lambda: nn.Conv2d(1, 1, 3, padding=1)
        >>> done = pretrain_denoiser(build, images, 0.5, epochs=2, cache=False)
        >>> done.record.epochs, done.record.cached, done.module.training
        (2, False, False)
    """
    check_positive(sigma, "sigma")
    check_choice(loss, LOSSES, "loss")
    if (classifier is None) == (loss == "stability"):
        raise InvalidSetting(
            'loss="stability" needs classifier=, a torch module that is no black box; other losses take none.'
        )
    schedule, device = Schedule(epochs, batch_size, lr, seed), check_device(device)
    (denoiser,) = _built([module], seed, device)
    _check_shape(denoiser, images, device)
    clean = images.train.to(device)
    settings: State = {"sigma": float(sigma), "loss": loss, "device": device.type}
    if classifier is None:
        batch_loss = _mse(denoiser, clean, sigma)
    else:
        judge = frozen(copy.deepcopy(classifier)).to(device)
        settings |= {"classifier": architecture(judge), "weights": fingerprint(judge.state_dict())}
        batch_loss = _stability(denoiser, judge, clean, sigma)
    record = _trained("denoiser", [denoiser], batch_loss, images, schedule, settings, cache, progress)
    return Pretrained(denoiser, record)


def pretrain_autoencoder(
    encoder: Network,
    decoder: Network,
    images: DefenseImages,
    *,
    noise: float = 0.2,
    epochs: int = 60,
    batch_size: int = 32,
    lr: float = 1e-2,
    seed: int = 0,
    device: torch.device | str = "cpu",
    cache: bool = True,
    progress: bool = False,
) -> Pretrained[tuple[nn.Module, nn.Module]]:
    """Train an encoder and a decoder to reconstruct training images, without any query.

    Args:
        encoder: From `(n, C, H, W)` to latent codes; trained in place. Or a function that builds it.
        decoder: From latent codes to `(n, C, H, W)`. Likewise.
        images: Whose training part is reconstructed.
        noise: Standard deviation of noise on the encoder's input, 0 for none; what is reconstructed is the clean
            image.
        epochs: Passes over the training images.
        batch_size: Images a step.
        lr: Adam's learning rate at the start; a cosine takes it to 0.
        seed: As in `pretrain_denoiser`, like all that follow.
        device: That they are trained on.
        cache: Whether they may come from the cache and are kept there.
        progress: Whether to show a bar.

    Returns:
        The pair of encoder and decoder.

    Raises:
        InvalidSetting: If a setting is out of range, what comes out has another shape than an image, or training
            diverges.
    """
    check_least(noise, 0, "noise")
    schedule, device = Schedule(epochs, batch_size, lr, seed), check_device(device)
    pair = _built([encoder, decoder], seed, device)
    _check_shape(nn.Sequential(*pair), images, device)
    settings: State = {"noise": float(noise), "device": device.type}
    batch_loss = _mse(nn.Sequential(*pair), images.train.to(device), noise)
    record = _trained("autoencoder", pair, batch_loss, images, schedule, settings, cache, progress)
    return Pretrained((pair[0], pair[1]), record)


def _mse(network: nn.Module, clean: Tensor, sigma: float) -> BatchLoss:
    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        return functional.mse_loss(network(_noisy(clean[rows], sigma, generator)), clean[rows])

    return loss


def _stability(denoiser: nn.Module, classifier: nn.Module, clean: Tensor, sigma: float) -> BatchLoss:
    with torch.no_grad():
        labels = torch.cat([classifier(block).argmax(1) for block in clean.split(1024)])

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        return functional.cross_entropy(classifier(denoiser(_noisy(clean[rows], sigma, generator))), labels[rows])

    return loss


def _trained(
    name: str,
    modules: Sequence[nn.Module],
    loss: BatchLoss,
    images: DefenseImages,
    schedule: Schedule,
    settings: State,
    cache: bool,
    progress: bool,
) -> PretrainingRecord:
    """Train the modules, or load what was trained from the same beginning."""

    def make() -> State:
        done = fit(modules, loss, len(images.train), schedule, progress=name if progress else "")
        return {"modules": [m.state_dict() for m in modules], "loss": done.loss, "seconds": done.seconds}

    layers = [architecture(module) for module in modules]
    key: dict[str, Any] = {
        "version": _VERSION,
        "images": images.train_fingerprint,
        "schedule": asdict(schedule),
        "settings": settings,
        "layers": layers,
        "start": [fingerprint(module.state_dict()) for module in modules],
    }
    known = None not in (*layers, settings.get("classifier", ""))
    state, found = kept("defense", name, key if cache and known else None, make)
    for module, tensors in zip(modules, state["modules"], strict=True):
        module.load_state_dict(tensors)
        module.eval()
    return PretrainingRecord(schedule.epochs, state["seconds"], state["loss"], found)


def _built(networks: Sequence[Network], seed: int, device: torch.device) -> list[nn.Module]:
    """Return the networks on a device; those that are functions are called, torch's generators set to the seed."""
    modules: list[nn.Module] = []
    for place, network in enumerate(networks):
        module: object = network
        if not isinstance(network, nn.Module) and callable(network):
            with seeded_randomness(derive_seed(seed, _INIT_DRAW, place), torch.device("cpu")):
                module = network()
        if not isinstance(module, nn.Module):
            raise InvalidSetting(
                f"a network must be a torch.nn.Module or a function that builds one, got {brief(module)}."
            )
        modules.append(module.to(device))
    return modules


def _check_shape(module: nn.Module, images: DefenseImages, device: torch.device) -> None:
    """Run an image through, in evaluation mode so that no statistics change."""
    try:
        with torch.no_grad():
            out = module.eval()(images.train[:1].to(device))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidSetting(f"the network cannot take images of shape {images.shape}: {reason}.") from error
    if not isinstance(out, Tensor) or out.shape != (1, *images.shape):
        raise InvalidSetting(f"the network must return one image of shape {images.shape} for each, got {brief(out)}.")


def _noisy(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Add noise, drawn on the CPU so that all devices see the same."""
    if sigma == 0:
        return x
    return x + sigma * torch.randn(x.shape, generator=generator).to(x.device)
