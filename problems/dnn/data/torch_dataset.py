"""Stacking a torch data set into two tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from zotoolkit.errors import InvalidSetting, brief


def stacked(dataset: Any, name: str) -> tuple[Tensor, Tensor]:
    """Return the `(n, ...)` inputs and `(n, ...)` targets of a map-style data set of pairs.

    Args:
        dataset: Has a length, and gives (input, target) for each index from 0.
        name: What it is, for messages: "train" or "test".

    Raises:
        InvalidSetting: If it is empty or iterable-style, a sample is no pair of tensors, arrays or numbers, or samples
            differ in shape or dtype.

    Examples:
        >>> inputs, targets = stacked([([1.0, 2.0], 0), ([3.0, 4.0], 1)], "train")
        >>> inputs.shape, targets.dtype
        (torch.Size([2, 2]), torch.int64)
    """
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise InvalidSetting(
            f"{name} must be a map-style data set, with a length and an item for each index, got {brief(dataset)}; "
            "collect an iterable one in a list of (input, target) pairs first."
        )
    if not len(dataset):
        raise InvalidSetting(f"{name} is empty: {brief(dataset)} has no sample.")
    columns: tuple[list[Tensor], list[Tensor]] = ([], [])
    for index in range(len(dataset)):
        sample = dataset[index]
        if not isinstance(sample, (tuple, list)) or len(sample) != 2:
            raise InvalidSetting(f"{name}[{index}] must be a pair (input, target), got {brief(sample)}.")
        for what, value, column in zip(("input", "target"), sample, columns, strict=True):
            tensor = _tensor(value, f"the {what} of {name}[{index}]")
            first = column[0] if column else tensor
            if (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
                raise InvalidSetting(
                    f"all samples must have one shape and dtype: the {what} of {name}[{index}] is {brief(tensor)}, "
                    f"that of {name}[0] {brief(first)}."
                )
            column.append(tensor)
    return torch.stack(columns[0]), torch.stack(columns[1])


def _tensor(value: Any, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    try:
        # A Python float is float32, as everywhere in torch; what NumPy made keeps its dtype.
        return torch.as_tensor(np.asarray(value)) if hasattr(value, "__array__") else torch.tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidSetting(
            f"{where} must be a tensor, an array or a number, got {brief(value)}; give the data set a transform that "
            "makes it one."
        ) from error
