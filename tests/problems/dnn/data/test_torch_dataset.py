"""From torch's data sets to tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from problems.dnn import SupervisedData
from zotoolkit.errors import InvalidSetting


class Listed(Dataset[Any]):
    def __init__(self, *samples: object) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> object:
        return self.samples[index]


class Streamed(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(2), 0


def test_samples_are_stacked() -> None:
    x, y = torch.randn(6, 2, 3), torch.arange(6)
    data = SupervisedData.from_dataset(TensorDataset(x, y), TensorDataset(x[:2], y[:2]), mean=0.0, std=2.0)
    assert torch.equal(data.train_inputs, x)
    assert torch.equal(data.train_targets, y)
    assert data.test_inputs is not None
    assert torch.equal(data.normalised(data.test_inputs), x[:2] / 2)
    pairs = SupervisedData.from_dataset(Listed((np.ones(3, np.float32), 1), (np.zeros(3, np.float32), 0)))
    assert pairs.train_targets.dtype == torch.int64
    assert pairs.train_inputs.dtype == torch.float32
    assert pairs.test_inputs is None
    assert SupervisedData.from_dataset([([1.0], 0.5)]).train_targets.dtype == torch.float32


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (Streamed(), "train must be a map-style data set.*collect an iterable one"),
        (5, "train must be a map-style data set"),
        (Listed(), "train is empty"),
        (Listed(torch.zeros(2)), r"train\[0\] must be a pair \(input, target\), got a tensor"),
        (Listed((torch.zeros(2), 0), (torch.zeros(3), 0)), r"the input of train\[1\] is a tensor of shape \(3,\)"),
        (Listed((torch.zeros(2), 0), (torch.zeros(2), 0.5)), r"the target of train\[1\] .*float32, that of train\[0\]"),
        (Listed(("picture", 0)), r"the input of train\[0\] must be a tensor, an array or a number, got 'picture'"),
    ],
)
def test_what_cannot_be_stacked_is_said(train: object, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        SupervisedData.from_dataset(train)
