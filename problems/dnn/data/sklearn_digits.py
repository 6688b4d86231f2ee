"""Scikit-learn's digits: real images that need no download."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch

from problems.dnn.data.supervised import SupervisedData
from zotoolkit.seeding import torch_generator

DIGITS_WHITE = 16
_TEST_SHARE = 0.2
_SPLIT_SEED = 0


@functools.lru_cache(maxsize=1)
def grey_digits() -> SupervisedData:
    """Return scikit-learn's digits as they are: 1,797 grey 8x8 images of handwritten digits.

    The split is fixed, 1,438 to train on and 359 to test. Images are `(n, 1, 8, 8)` float32 in whole steps from 0 to
    `DIGITS_WHITE`; targets are the digits.

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
    return SupervisedData(inputs[train], targets[train], inputs[test], targets[test])


@functools.lru_cache(maxsize=1)
def digits() -> SupervisedData:
    """Return `grey_digits`, shifted and scaled by the training set's mean and standard deviation."""
    grey = grey_digits()
    mean, std = grey.train_inputs.mean(), grey.train_inputs.std()
    test = None if grey.test_inputs is None else (grey.test_inputs - mean) / std
    return replace(grey, train_inputs=(grey.train_inputs - mean) / std, test_inputs=test)
