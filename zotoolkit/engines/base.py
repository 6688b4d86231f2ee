"""The interface of engines: losses, or outputs, of one network at many parameter vectors, on one mini-batch.

An engine answers three questions, which mirror the three ways in which an objective is asked:

    dense         `(q, d)` points, no structure: what every engine can do
    coordinates   a CoordinateBatch: one weight changes a query, so most of the forward pass can be shared
    seeded        a SeededBatch: directions can be made layer by layer, where they are used

The last two return None where an engine has no better way than the points; the objective then takes the dense path.

    outputs       any batch: what the network returns for each query, for a black box that stands behind it
"""

from __future__ import annotations

import copy
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Union

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils import _pytree as pytree

from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch

Inputs = Union[Tensor, tuple[Tensor, ...]]
Loss = Callable[[Any, Any], Tensor]
Arithmetic = Literal["float32", "bfloat16"]
ARITHMETICS = ("float32", "bfloat16")
_POINT_BYTES = 64 << 20
_OUTPUT_BYTES_CPU = 64 << 20
_OUTPUT_BYTES_GPU = 1 << 30


class Engine(ABC):
    """Losses of a network at many parameter vectors.

    The engine keeps a copy of the module and never changes it. Whether layers train or evaluate is the module's own
    `training` flag. A batch norm that trains uses the mini-batch's statistics and keeps no running ones: a query leaves
    no trace.

    Args:
        module: The network.
        loss: `loss(output, target)` returns one number for one candidate.

    Attributes:
        layout: How the network's parameters stand in a point.
        streams: Whether `coordinates` splits a batch by itself, so that any number of queries fits into memory.

    Raises:
        InvalidSetting: If the module cannot be laid out or loss is not callable.
    """

    streams: bool = False

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        self.layout = ParameterLayout.of(module)
        if not callable(loss):
            raise InvalidSetting(f"loss must be called as loss(output, target), got {brief(loss)}.")
        self.loss = loss
        self.module = copy.deepcopy(module)
        for part in self.module.modules():
            if isinstance(part, _NormBase) and part.training and part.track_running_stats:
                part.track_running_stats = False
                part.running_mean = part.running_var = part.num_batches_tracked = None

    @abstractmethod
    def dense(self, points: Tensor, inputs: Inputs, target: Any, seed: int = 0) -> Tensor:
        """Return the `(q,)` losses at `(q, d)` points.

        Args:
            points: `(q, d)` parameter vectors.
            inputs: What the network takes, the same for all candidates: a tensor, or a tuple of positional arguments.
            target: Second argument of the loss.
            seed: Of random layers, such as dropout, where the engine allows them.
        """

    def coordinates(self, batch: CoordinateBatch, inputs: Inputs, target: Any, seed: int = 0) -> Tensor | None:
        """Return the `(q,)` losses of a coordinate batch, or None to ask for the dense path."""
        return None

    def seeded(self, batch: SeededBatch, inputs: Inputs, target: Any, seed: int = 0) -> Tensor | None:
        """Return the `(q,)` losses of a seeded batch, or None to ask for the dense path."""
        return None

    @abstractmethod
    def outputs(self, batch: QueryBatch, inputs: Inputs, seed: int = 0) -> Iterator[Any]:
        """Yield what the network returns at consecutive queries, in the batch's order, some at a time.

        What a black box behind the network is to be asked, and every loss is computed from. A chunk is as large as
        fits into memory: nothing may be read into its size.

        Args:
            batch: The queries.
            inputs: As for `dense`.
            seed: As for `dense`.

        Yields:
            `(P, B, ...)` outputs of P queries, not to be written into; a network's several ones in their structure.
        """

    def costs(self, batch: QueryBatch) -> dict[str, float]:
        """Return what answering the batch costs, in full forward passes."""
        return {"forward_equivalents": float(len(batch))}

    def scalar_loss(self, output: Any, target: Any) -> Tensor:
        """Return one candidate's loss.

        Raises:
            InvalidSetting: If it is not one floating-point number.
        """
        value = self.loss(output, target)
        if not isinstance(value, Tensor) or value.ndim != 0 or not value.is_floating_point():
            raise InvalidSetting(
                f"loss(output, target) must return one floating-point number a candidate, got {brief(value)}; "
                "reduce over the samples, for example by .mean()."
            )
        return value


def rows_that_fit(output: Any) -> int:
    """Return how many outputs like this one are handed on together: 64 MiB of them, 1 GiB on a GPU; at least one."""
    tensors = [value for value in pytree.tree_leaves(output) if isinstance(value, Tensor)]
    size = sum(value.numel() * value.element_size() for value in tensors)
    limit = _OUTPUT_BYTES_GPU if any(value.is_cuda for value in tensors) else _OUTPUT_BYTES_CPU
    return max(1, limit // max(1, size))


def points_that_fit(batch: QueryBatch) -> int:
    """Return how many of a batch's points are written out together: 64 MiB of them; at least one."""
    return max(1, _POINT_BYTES // (batch.dim * batch.base.element_size()))


@contextmanager
def seeded_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Within this context torch's global generators start from the seed; afterwards they are as before."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.random.manual_seed(seed)
        yield


def innermost_channels(value: Any) -> Any:
    """Return images, `(B, C, H, W)`, with the channels innermost in memory, and all else as it is."""
    if isinstance(value, Tensor) and value.ndim == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value


@functools.cache
def say_once(message: str) -> None:
    """Log a warning the first time that this process has it."""
    logging.getLogger("zotoolkit").warning(message)


def activation_bytes(module: nn.Module, run: Callable[[], object]) -> int:
    """Return the bytes of all layers' outputs while `run` runs the module once."""
    total = 0

    def add(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    leaves = [part for part in module.modules() if not any(part.children())]
    handles = [leaf.register_forward_hook(add) for leaf in leaves]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return total
