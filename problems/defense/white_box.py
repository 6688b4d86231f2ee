"""Losses through a classifier that is no black box, for the first-order reference: the graph is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from zotoolkit.query_models import QueryModel, TorchModel

_TINY = 1e-12  # of probabilities: a higher floor would stop the gradient where it is wanted most


def is_white_box(model: QueryModel) -> bool:
    """Return whether there is a gradient through the classifier: a torch module that answers with scores."""
    return isinstance(model, TorchModel) and model.access != "label"


def white_box_losses(model: TorchModel, images: Tensor, labels: Tensor) -> Tensor:
    """Return the `(m,)` cross-entropies of `(m, ...)` images, differentiable with respect to the images.

    What the classifier does to its input before it looks (clipping, rounding to 8 bits) is passed straight through by
    the gradient. Nothing is sent, counted or paid for.

    Args:
        model: Whose module is run, in evaluation mode and left as it is.
        images: As it takes them.
        labels: `(m,)` int64.
    """
    seen = images + (model.input.prepare(images.detach()) - images.detach())
    parameter = next((p for p in model.module.parameters() if p.is_floating_point()), images)
    with _evaluating(model.module):
        scores: Tensor = model.module(seen.to(parameter.device, parameter.dtype)).to(images)
    if model.access == "proba":
        return -torch.log(scores.gather(1, labels[:, None])[:, 0].clamp(min=_TINY))
    return functional.cross_entropy(scores, labels, reduction="none")


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        with torch.enable_grad():
            yield
    finally:
        for part in training:
            part.training = True
