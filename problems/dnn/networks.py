"""Small networks on scikit-learn's digits, as objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from problems.dnn.data import digits
from problems.dnn.train_network import TrainNetwork
from zotoolkit.checks import check_choice, check_count

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def digits_mlp(
    hidden: int | Sequence[int] = 8,
    activation: str = "relu",
    batch_size: int | None = 32,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
) -> TrainNetwork:
    """A multi-layer perceptron on the 64 pixels of a digit.

    Args:
        hidden: Units of the hidden layer, or of each of several.
        activation: "relu", "leaky_relu", "gelu", "tanh" or "sigmoid".
        batch_size: Samples a mini-batch; None for all 1,438.
        dtype: "float32" or "float64".
        device: Where it is trained.

    Raises:
        InvalidSetting: If a setting is out of range.

    Example:
        >>> digits_mlp()
        <TrainNetwork: d=610, float32, cpu>
    """
    widths = [check_count(h, "hidden") for h in (hidden if isinstance(hidden, (list, tuple)) else (hidden,))]
    check_choice(activation, tuple(ACTIVATIONS), "activation")
    check_choice(dtype, tuple(_DTYPES), "dtype")

    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise((64, *widths)):
            layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
        return nn.Sequential(*layers, nn.Linear(widths[-1] if widths else 64, 10)).to(_DTYPES[dtype])

    data = digits().to("cpu", _DTYPES[dtype])
    return TrainNetwork(build, data, batch_size=batch_size, device=device, name="Digits MLP")


def digits_cnn(
    channels: int = 4,
    activation: str = "relu",
    batch_size: int | None = 32,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
) -> TrainNetwork:
    """A network of two 3x3 convolutions, each followed by 2x2 max pooling, and a linear layer, on 8x8 digits.

    Args:
        channels: Of the first convolution; the second has twice as many.
        activation: As in `digits_mlp`.
        batch_size: Samples a mini-batch; None for all 1,438.
        dtype: "float32" or "float64".
        device: Where it is trained.

    Raises:
        InvalidSetting: If a setting is out of range.

    Example:
        >>> digits_cnn(channels=4)
        <TrainNetwork: d=666, float32, cpu>
    """
    check_count(channels, "channels")
    check_choice(activation, tuple(ACTIVATIONS), "activation")
    check_choice(dtype, tuple(_DTYPES), "dtype")

    def build() -> nn.Module:
        act = ACTIVATIONS[activation]
        return nn.Sequential(
            *(nn.Conv2d(1, channels, 3, padding=1), act(), nn.MaxPool2d(2)),
            *(nn.Conv2d(channels, 2 * channels, 3, padding=1), act(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(8 * channels, 10)),
        ).to(_DTYPES[dtype])

    data = digits().to("cpu", _DTYPES[dtype])
    return TrainNetwork(build, data, batch_size=batch_size, device=device, name="Digits CNN")
