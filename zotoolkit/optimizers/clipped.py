"""Gradient clipping for any torch optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from zotoolkit.checks import check_positive

Factory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]


def clipped(optimizer: Factory, norm: float) -> Factory:
    """Return a factory of the same optimiser that sees gradients of at most some length.

    A gradient that is longer is scaled down to it. Losses of long unrolled trajectories have cliffs; one step over such
    an edge can undo many.

    Args:
        optimizer: Called with the parameters, returns a torch optimiser.
        norm: Length, over all parameters together, in units of loss per unit of x.

    Raises:
        InvalidSetting: If norm is not positive.

    Examples:
        >>> import functools
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> sgd = clipped(functools.partial(torch.optim.SGD, lr=1.0), norm=1.0)([weight])
        >>> weight.grad = torch.tensor([30.0, 40.0])
        >>> sgd.step()
        >>> weight.detach()
        tensor([-0.6000, -0.8000])

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
    """
    check_positive(norm, "norm")

    def make(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        made = optimizer(parameters)

        def clip(*_: Any) -> None:
            moved = [parameter for group in made.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(moved, norm)

        made.register_step_pre_hook(clip)
        return made

    return make
