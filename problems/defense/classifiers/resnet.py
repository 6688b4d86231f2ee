"""Residual networks for CIFAR as fixed classifiers: a checkpoint, with the normalisation inside the module."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from typing_extensions import override

from problems.defense.classifiers.fixed import FixedClassifier, frozen, measured
from problems.defense.images import DefenseImages
from problems.dnn.data.cifar import CIFAR10
from problems.dnn.networks import CifarResNet
from zotoolkit.errors import CheckpointDamaged, CheckpointMismatch, CheckpointMissing, InvalidSetting, brief


class Normalised(nn.Module):
    """A network with the normalisation of its images in front: pixels in [0, 1] go in.

    Args:
        network: Takes `(image - mean) / std`.
        mean: For each channel.
        std: Likewise, above 0.

    Raises:
        InvalidSetting: If mean and std are not finite, not equally many, or std is not above 0.

    Examples:
        >>> Normalised(nn.Identity(), [0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        try:
            values = [torch.as_tensor(value, dtype=torch.float32).view(1, -1, 1, 1) for value in (mean, std)]
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidSetting(f"mean and std must be numbers, got {brief(mean)} and {brief(std)}.") from error
        if values[0].shape != values[1].shape or not torch.cat(values).isfinite().all() or bool((values[1] <= 0).any()):
            raise InvalidSetting(
                f"mean and std must be finite, one for each channel, std above 0; got {brief(mean)} and {brief(std)}."
            )
        self.register_buffer("mean", values[0], persistent=False)
        self.register_buffer("std", values[1], persistent=False)

    @override
    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


def load_resnet(path: str | Path) -> Normalised:
    """Return the residual network of a checkpoint, frozen; depth, width and classes are those of its tensors.

    Args:
        path: A safetensors file with the names of `problems.dnn.CifarResNet`, as
            `problems.defense.classifiers.train_resnet` writes it. Mean and std stand in its metadata as JSON lists;
            without them CIFAR-10's are taken.

    Raises:
        CheckpointMissing: If there is no such file.
        CheckpointDamaged: If it cannot be read.
        CheckpointMismatch: If it holds another network.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointMissing(f"there is no file {path}; train one by python -m {__package__}.train_resnet.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        mean, std = (json.loads(metadata.get(n, "null")) or list(getattr(CIFAR10, n)) for n in ("mean", "std"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointDamaged(f"{path} is damaged ({error}); restore it from a copy or train it anew.") from error
    try:
        network = CifarResNet(**_shape(tensors))
        network.load_state_dict(tensors)
    except (KeyError, RuntimeError, InvalidSetting) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointMismatch(f"{path} holds no network of problems.dnn.CifarResNet: {reason}.") from error
    module = Normalised(network, mean, std)
    frozen(module)
    return module


def fixed_resnet(path: str | Path, images: DefenseImages) -> FixedClassifier[Normalised]:
    """Return the network of a checkpoint with its facts, measured on images; see `load_resnet`."""
    model = load_resnet(path)
    if images.shape[0] != len(model.mean.flatten()):
        raise CheckpointMismatch(
            f"{path} is of a network for {model.mean.numel()} channels, images have shape {images.shape}."
        )
    blocks = len(list(model.network.get_submodule("layer1").children()))
    name = f"ResNet-{6 * blocks + 2}"
    return FixedClassifier(model, measured(model, images, name, settings={"file": Path(path).name}, cached=True))


def _shape(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the network that has these tensors."""
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("layer1.")})
    width, channels = tensors["conv1.weight"].shape[:2]
    return {"depth": 6 * blocks + 2, "classes": len(tensors["fc.bias"]), "in_channels": channels, "width": width}
