"""What a network must keep to be trained by queries, found out by calling it twice on a few samples.

A query must be a pure function of parameters, mini-batch and seed. A module that draws from a generator of its own,
counts its calls or writes into its buffers is none, and would go wrong silently: differences of losses would measure
its moods. Torch's own random layers are fine, they draw from torch's generators, which are seeded by the context.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from problems.dnn.data.supervised import SupervisedData
from zotoolkit.engines import Loss
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import torch_generator

_ROWS = 4  # as few as batch norm in training mode is content with, and some
_TOLERANCE = 1e-4  # kernels may round differently from call to call; a module that changes its mind differs by more

_CLASS_LOSSES = (functional.cross_entropy, functional.nll_loss, functional.multi_margin_loss)
_CLASS_LOSS_MODULES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
_IGNORED = -100


def check_network(module: nn.Module, loss: Loss, data: SupervisedData, batch_size: int) -> None:
    """Call a copy of the network twice near its start, and the loss once, on a few samples.

    Args:
        module: In the mode that answers queries, on the data's device.
        loss: `loss(output, target)`.
        data: What it is trained on.
        batch_size: Samples a query; no more are taken.

    Raises:
        InvalidSetting: If the network cannot be copied or cannot take the inputs; if a call changes its output, its
            buffers or its inputs; if labels do not fit its output; or if the loss fails.
    """
    try:
        module = copy.deepcopy(module)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise InvalidSetting(
            f"{type(module).__name__} cannot be copied, which engines do: {error}; keep open files, locks and tensors "
            "that are computed out of it."
        ) from error
    for part in module.modules():
        if isinstance(part, _NormBase) and part.training and part.track_running_stats:
            part.track_running_stats = False  # as engines do: a query keeps no statistics
            part.running_mean = part.running_var = part.num_batches_tracked = None
    _move(module)
    rows = _telling_rows(data.train_targets, min(_ROWS, batch_size))
    raw, target = data.train_inputs[rows], data.train_targets[rows]
    inputs = data.normalised(raw)
    given = inputs.clone()
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    output = _call(module, inputs, data)
    first = [value.clone() for value in _tensors(output)]
    second = list(_tensors(_call(module, given.clone(), data)))
    name = type(module).__name__
    if not torch.equal(inputs, given):
        raise InvalidSetting(
            f"{name} writes into its inputs, which all queries of a mini-batch share: turn off inplace=True in its "
            "first layer."
        )
    for buffer, value in module.named_buffers():
        if buffer not in buffers or not _untouched(value, buffers[buffer]):
            raise InvalidSetting(
                f"{name} changes its buffer {buffer!r} when it is called; a query must leave no trace: use "
                "mode='eval', or freeze the layer. Torch's own batch norms are taken care of."
            )
    if len(first) != len(second) or not all(map(_same, first, second)):
        raise InvalidSetting(
            f"{name} gave two outputs for the same parameters and inputs: does it draw from a generator of its own, or "
            "count its calls? Draw by torch.nn.Dropout or torch.rand, which the mini-batch seeds."
        )
    _check_labels(output, loss, data)
    _check_loss(output, target, loss)


def _move(module: nn.Module) -> None:
    """Step a little away from the start: buffers that follow the parameters may have settled there."""
    generator = torch_generator(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.add_(0.1 * parameter.abs().mean() * noise)


def _call(module: nn.Module, inputs: Tensor, data: SupervisedData) -> Any:
    try:
        with torch.no_grad(), seeded_randomness(0, inputs.device):
            return module(inputs)
    except InvalidSetting:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "; uint8 inputs become floating point if the data have a mean and a std" if data.mean is None else ""
        raise InvalidSetting(
            f"{type(module).__name__} cannot take the data's inputs, {brief(inputs)}: {reason}"
            f"{hint if inputs.dtype == torch.uint8 else ''}."
        ) from error


def _telling_rows(targets: Tensor, most: int) -> Tensor:
    """Return a few rows, the lowest and highest label among them, so that a loss meets the worst ones."""
    count = min(most, len(targets))
    rows = torch.arange(count, device=targets.device)
    if targets.ndim == 1 and not targets.is_floating_point() and len(targets) > count >= 2:
        rows[-2], rows[-1] = targets.argmin(), targets.argmax()
    return rows


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors(value)


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    finite = other[torch.isfinite(other)]
    size = float(finite.abs().max()) if len(finite) else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=_TOLERANCE * size, equal_nan=True)


def _untouched(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _check_labels(output: Any, loss: Loss, data: SupervisedData) -> None:
    """Check all class indices against the output's width, where the loss is known to take them for that."""
    known = loss in _CLASS_LOSSES or isinstance(loss, _CLASS_LOSS_MODULES)
    if not known or not isinstance(output, Tensor) or output.ndim < 2:
        return
    ignored = getattr(loss, "ignore_index", _IGNORED)
    for part, targets in (("training", data.train_targets), ("test", data.test_targets)):
        if targets is None or targets.is_floating_point():
            continue
        wrong = ((targets < 0) | (targets >= output.shape[1])) & (targets != ignored)
        if wrong.any():
            raise InvalidSetting(
                f"labels of the {part} set must be 0 to {output.shape[1] - 1}, since the network has {output.shape[1]} "
                f"outputs, got {int(targets[wrong][0])}; number the classes from 0, or widen the last layer."
            )


def _check_loss(output: Any, target: Tensor, loss: Loss) -> None:
    try:
        with torch.no_grad():
            value = loss(output, target)
        if target.is_cuda:  # where an error comes late
            torch.cuda.synchronize(target.device)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidSetting(
            f"loss(output, target) fails on the network's output, {brief(output)}, and {brief(target)}: {reason}."
        ) from error
    if not isinstance(value, Tensor) or value.ndim != 0 or not value.is_floating_point():
        raise InvalidSetting(
            f"loss(output, target) must return one floating-point number a candidate, got {brief(value)}; "
            "reduce over the samples, for example by .mean()."
        )
