"""Differences of losses, without cancellation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional
from torch.utils import _pytree as pytree
from typing_extensions import override

from zotoolkit.engines.change import Change
from zotoolkit.engines.reading import Reading

_IGNORED = -100


def is_plain_cross_entropy(loss: Callable[..., Any], output: Any, target: Any) -> bool:
    """Return whether the loss is the mean cross-entropy of `(B, K)` scores and class indices, none of them ignored."""
    if isinstance(loss, nn.CrossEntropyLoss):
        known = loss.weight is None and loss.reduction == "mean" and not loss.label_smoothing
        known = known and loss.ignore_index == _IGNORED
    else:
        known = loss is functional.cross_entropy
    scores = isinstance(output, Tensor) and output.ndim == 2
    classes = isinstance(target, Tensor) and target.ndim == 1 and target.dtype == torch.int64
    return known and scores and classes and not bool((target == _IGNORED).any())


class LossDifference(Reading):
    """loss(output + change) - loss(output), in float64.

    The mean cross-entropy is taken in closed form: log1p(sum_k p_k expm1(dz_k)) - dz_y. Any other loss is evaluated in
    float64 on both sides, which loses nothing that float32 differences hold.

    Args:
        loss: `loss(output, target)` returns one number.
        output: The network's at the base point.
        target: Second argument of the loss.

    Attributes:
        base: `()` float64, the loss at the base point.
        target: As given.
    """

    def __init__(self, loss: Callable[[Any, Any], Tensor], output: Any, target: Any) -> None:
        self._output = pytree.tree_map(_double, output)
        self._target = pytree.tree_map(_double, target)
        self._loss, self.target = loss, target
        self._plain = is_plain_cross_entropy(loss, output, target)
        self.base = loss(self._output, self._target).detach()
        if self._plain:
            self._probabilities = torch.softmax(self._output, 1)

    @override
    def start(self, count: int) -> list[Tensor]:
        return [self.base.repeat(count)]

    @override
    def of(self, changes: Sequence[Change | None], count: int) -> list[Tensor]:
        """Return the `(P,)` float64 differences of P candidates."""
        if all(change is None for change in changes):
            return [self.base.new_zeros(count)]
        if self._plain and isinstance(first := changes[0], Change):
            d = first.dense(self._output.shape, torch.float64)
            grown = torch.log1p((self._probabilities * torch.expm1(d)).sum(2))
            picked = d.gather(2, self._target.expand(count, -1)[:, :, None])[:, :, 0]
            return [(grown - picked).mean(1)]

        flat, spec = pytree.tree_flatten(self._output)
        moved = [
            base if change is None else base + change.dense(base.shape, torch.float64)
            for base, change in zip(flat, changes, strict=True)
        ]
        axes = [None if change is None else 0 for change in changes]

        def one(*parts: Tensor) -> Tensor:
            return self._loss(pytree.tree_unflatten(parts, spec), self._target)

        return [vmap(one, in_dims=tuple(axes))(*moved) - self.base]


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
