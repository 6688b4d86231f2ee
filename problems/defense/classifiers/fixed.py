"""A trained classifier with what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from problems.defense.images import DefenseImages
from zotoolkit.seeding import torch_generator

M = TypeVar("M")

_PROBE_DRAW = 0xDE3
_PROBES = 128
_PROBE_NOISE = 0.5
_BYTES = 8 << 20  # of a block of images; a network's activations are some ten times as many


@dataclass(frozen=True)
class Facts:
    """What is known of a fixed classifier.

    Attributes:
        name: For reports.
        accuracy: On clean test images, in [0, 1].
        answers: SHA-256 digest of its labels for fixed probes: up to 128 test images, clean and with noise. Two
            classifiers with one digest are, as far as that shows, the same.
        images: Fingerprint of the images that it was trained and tested on.
        settings: That it was trained with.
        seconds: That training took; 0 if it was read from the cache or a file.
        cached: Whether it was.
    """

    name: str
    accuracy: float
    answers: str
    images: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cached: bool = False


@dataclass(frozen=True, eq=False)
class FixedClassifier(Generic[M]):
    """A classifier and its facts.

    Attributes:
        model: A scikit-learn estimator on `(n, C * H * W)` arrays, or a torch module in evaluation mode with frozen
            parameters on `(n, C, H, W)` tensors, in both cases of pixels in [0, 1]. It is shared by all who ask for
            the same one in a process: do not train it further.
        facts: What is known of it.
    """

    model: M
    facts: Facts


def frozen(module: nn.Module) -> nn.Module:
    """Return the module in evaluation mode, none of its parameters wanting a gradient."""
    return module.eval().requires_grad_(False)


def predicted_labels(model: Any, images: Tensor) -> Tensor:
    """Return the `(n,)` int64 labels that a fixed classifier gives `(n, C, H, W)` images, in blocks."""
    size = max(1, _BYTES // (4 * images[0].numel()))
    if not isinstance(model, nn.Module):
        blocks = [model.predict(block.flatten(1).numpy()) for block in images.split(size)]
        return torch.cat([torch.as_tensor(block).to(torch.int64) for block in blocks])
    device = next((tensor.device for tensor in model.state_dict().values()), images.device)
    with torch.no_grad():
        return torch.cat([model(block.to(device)).argmax(1).cpu() for block in images.split(size)])


def measured(model: Any, images: DefenseImages, name: str, **known: Any) -> Facts:
    """Return a classifier's facts: its accuracy and the digest of its answers are found out, the others known."""
    labels = predicted_labels(model, images.test)
    clean = images.test[:_PROBES]
    noise = torch.randn(clean.shape, generator=torch_generator(0, _PROBE_DRAW))
    probed = torch.cat((labels[:_PROBES], predicted_labels(model, clean + _PROBE_NOISE * noise)))
    return Facts(
        name=name,
        accuracy=float((labels == images.test_labels).double().mean()),
        answers=hashlib.sha256(probed.numpy().astype("<i8").tobytes()).hexdigest(),
        images=images.fingerprint,
        **known,
    )
