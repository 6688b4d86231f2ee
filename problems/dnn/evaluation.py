"""Measuring a network block by block: losses, accuracies, and the batch-norm statistics to measure it with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from problems.dnn.data.supervised import SupervisedData
from zotoolkit.engines import Loss

_ROWS = 4096
_BYTES = 8 << 20  # of a block's inputs; a network's activations are some ten times as many


def blocks(inputs: Tensor) -> Iterator[slice]:
    """Yield slices of `(n, ...)` inputs, small enough to be run through a network at once."""
    each = max(1, inputs[0].numel() * max(4, inputs.element_size()))
    size = max(1, min(_ROWS, _BYTES // each))
    for start in range(0, len(inputs), size):
        yield slice(start, start + size)


def figures(network: nn.Module, loss: Loss, data: SupervisedData, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the loss of a network over raw inputs, and its accuracy where targets are classes.

    Args:
        network: In evaluation mode.
        loss: Mean over the samples.
        data: Whose normalisation is used.
        inputs: `(n, ...)`, not normalised.
        targets: `(n, ...)`.
    """
    total, correct = 0.0, 0
    classes = False
    with torch.no_grad():
        for rows in blocks(inputs):
            target = targets[rows]
            output = network(data.normalised(inputs[rows]))
            total += float(loss(output, target)) * len(target)
            classes = target.ndim == 1 and target.dtype == torch.int64
            classes = classes and isinstance(output, Tensor) and output.ndim == 2
            if classes:
                correct += int((output.argmax(1) == target).sum())
    return {"loss": total / len(inputs)} | ({"accuracy": correct / len(inputs)} if classes else {})


def batch_norms(network: nn.Module) -> list[_NormBase]:
    """Return the layers that keep running statistics."""
    return [part for part in network.modules() if isinstance(part, _NormBase) and part.track_running_stats]


def re_estimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of a network's batch norms to averages over batches of its inputs.

    Means are averaged, and so are variances, as the momentum average of training would in the long run. The network is
    left in evaluation mode.
    """
    norms = batch_norms(network)
    network.eval()
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    network.eval()
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
