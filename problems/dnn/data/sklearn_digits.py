"""Scikit-learn's digits: real images that need no download."""

from __future__ import annotations

import functools

import torch

from problems.dnn.data.supervised import SupervisedData
from zotoolkit.seeding import torch_generator

_TEST_SHARE = 0.2
_SPLIT_SEED = 0


@functools.lru_cache(maxsize=1)
def digits() -> SupervisedData:
    """Return scikit-learn's digits: 1,797 grey 8x8 images of handwritten digits, 1,438 to train on and 359 to test.

    The split is fixed. Images are `(n, 1, 8, 8)` float32, shifted and scaled by the training set's mean and standard
    deviation; targets are the digits.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test set), as shipped inside
    scikit-learn (`sklearn.datasets.load_digits`): nothing is downloaded.
    """
    from sklearn.datasets import load_digits  # slow to import, and only this data needs it

    images, labels = load_digits(return_X_y=True)
    inputs = torch.as_tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)
    targets = torch.as_tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(inputs), generator=torch_generator(_SPLIT_SEED))
    count = round(_TEST_SHARE * len(inputs))
    test, train = order[:count], order[count:]
    mean, std = inputs[train].mean(), inputs[train].std()
    inputs = (inputs - mean) / std
    return SupervisedData(inputs[train], targets[train], inputs[test], targets[test])
