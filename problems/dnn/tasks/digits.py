"""Small networks on scikit-learn's digits, as objectives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from problems.dnn.data.sklearn_digits import digits
from problems.dnn.networks import ACTIVATIONS, mlp, two_convolutions
from problems.dnn.tasks.dtypes import dtype_named
from problems.dnn.train_network import TrainNetwork
from zotoolkit.checks import check_choice, check_count, check_device


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

    Examples:
        >>> digits_mlp()
        <TrainNetwork: d=610, float32, cpu>
    """
    kind = dtype_named(dtype)
    check_device(device)

    def build() -> nn.Module:
        return mlp(64, hidden, 10, activation).to(kind)

    data = digits().to("cpu", kind)
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

    Examples:
        >>> digits_cnn(channels=4)
        <TrainNetwork: d=666, float32, cpu>
    """
    check_count(channels, "channels")
    check_choice(activation, tuple(ACTIVATIONS), "activation")
    kind = dtype_named(dtype)
    check_device(device)

    def build() -> nn.Module:
        return two_convolutions(channels, activation=activation).to(kind)

    data = digits().to("cpu", kind)
    return TrainNetwork(build, data, batch_size=batch_size, device=device, name="Digits CNN")
