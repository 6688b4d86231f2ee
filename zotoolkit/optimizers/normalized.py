"""Gradients of length 1 for any torch optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

Factory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]


def normalized(optimizer: Factory) -> Factory:
    """Return a factory of the same optimiser that sees each gradient at length 1, over all parameters together.

    Losses of mini-batches that differ in size by orders of magnitude, as those of unrolled trajectories do, then weigh
    the same in the averages that momentum and Adam keep, and one step over a cliff does not undo many. A gradient that
    is 0 stays so.

    Args:
        optimizer: Called with the parameters, returns a torch optimiser.

    Examples:
        >>> import functools
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> sgd = normalized(functools.partial(torch.optim.SGD, lr=1.0))([weight])
        >>> weight.grad = torch.tensor([30.0, 40.0])
        >>> sgd.step()
        >>> weight.detach()
        tensor([-0.6000, -0.8000])

    Source: You et al., Large batch training of convolutional networks, 2017, and Cutkosky and Mehta, Momentum improves
    normalized SGD, ICML 2020, normalise likewise.
    """

    def make(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        made = optimizer(parameters)

        def normalize(*_: Any) -> None:
            gradients = [p.grad for group in made.param_groups for p in group["params"] if p.grad is not None]
            length = torch.nn.utils.get_total_norm(gradients)
            if length > 0:
                for gradient in gradients:
                    gradient.div_(length.to(gradient.device))

        made.register_step_pre_hook(normalize)
        return made

    return make
