"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from problems.dnn.networks.activations import ACTIVATIONS
from zotoolkit.checks import check_choice, check_count


def mlp(inputs: int, hidden: int | Sequence[int], outputs: int, activation: str = "relu") -> nn.Sequential:
    """Return a perceptron that takes `(n, ...)` samples of so many numbers each and gives `(n, outputs)`.

    Args:
        inputs: Numbers a sample.
        hidden: Units of the hidden layer, or of each of several; an empty list leaves one linear layer.
        outputs: Numbers that come out.
        activation: "relu", "leaky_relu", "gelu", "tanh" or "sigmoid".

    Raises:
        InvalidSetting: If a width is below 1 or the activation is unknown.

    Examples:
        >>> sum(p.numel() for p in mlp(64, 8, 10).parameters())
        610
    """
    widths = [check_count(h, "hidden") for h in (hidden if isinstance(hidden, (list, tuple)) else (hidden,))]
    widths = [check_count(inputs, "inputs"), *widths]
    check_count(outputs, "outputs")
    check_choice(activation, tuple(ACTIVATIONS), "activation")
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
