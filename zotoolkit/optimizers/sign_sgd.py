"""Gradient descent by the sign of the gradient, as a torch optimiser.

    m <- momentum * m + (1 - momentum) * g
    x <- x - lr * sign(m)

Source: Bernstein et al., signSGD, ICML 2018; Liu et al., signSGD via zeroth-order oracle, ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from zotoolkit.checks import check_momentum, check_positive


class SignSGD(torch.optim.Optimizer):
    """signSGD, with momentum also known as Signum.

    Args:
        params: What to update.
        lr: Step in every coordinate. Must be positive.
        momentum: In [0, 1); 0 takes the sign of each gradient alone.

    Raises:
        InvalidSetting: If lr or momentum is out of range.
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, momentum: float = 0.0) -> None:
        super().__init__(params, {"lr": check_positive(lr, "lr"), "momentum": check_momentum(momentum)})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient by lr against the sign of its averaged gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                average = parameter.grad
                if group["momentum"]:
                    state = self.state[parameter]
                    state.setdefault("average", torch.zeros_like(parameter))
                    average = state["average"].lerp_(parameter.grad, 1 - group["momentum"])
                parameter.add_(average.sign(), alpha=-group["lr"])
        return loss
