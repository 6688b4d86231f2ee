"""Data to train on: a training and a test set as tensors, and scikit-learn's digits."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import torch_generator

_TEST_SHARE = 0.2
_SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class SupervisedData:
    """Inputs and targets, one row a sample.

    Args:
        train_inputs: `(n, ...)` floating point or integer.
        train_targets: `(n, ...)`; int64 class indices for classification.
        test_inputs: `(m, ...)`; None if there is no test set.
        test_targets: `(m, ...)`.

    Raises:
        InvalidSetting: If inputs and targets do not have one row a sample each, or there is no sample.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor | None = None
    test_targets: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.test_inputs is None) != (self.test_targets is None):
            raise InvalidSetting("test_inputs and test_targets come together: give both or neither.")
        for part in ("train", "test"):
            inputs, targets = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            if part == "test" and inputs is None:
                continue
            for name, value in ((f"{part}_inputs", inputs), (f"{part}_targets", targets)):
                if not isinstance(value, Tensor) or value.ndim < 1 or not len(value):
                    raise InvalidSetting(f"{name} must be a tensor with one row a sample, got {brief(value)}.")
            if len(inputs) != len(targets):
                raise InvalidSetting(f"there must be one target a sample, got {len(inputs)} and {len(targets)} rows.")

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """Return the data on a device, and its floating-point parts in a dtype."""

        def moved(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            return value.to(device, dtype if value.is_floating_point() else None)

        inputs, targets = moved(self.train_inputs), moved(self.train_targets)
        if inputs is None or targets is None:
            raise InvalidSetting("there must be training data.")
        return type(self)(inputs, targets, moved(self.test_inputs), moved(self.test_targets))

    def hold_out(self, share: float, seed: int = 0) -> Self:
        """Return the training set split in two, the second part in the test set's place: to tune without the test set.

        Args:
            share: Of the training set that is held out, in (0, 1).
            seed: Which samples.
        """
        count = round(share * len(self.train_inputs))
        if not 0 < count < len(self.train_inputs):
            raise InvalidSetting(f"share must leave samples on both sides, got {share!r}.")
        order = torch.randperm(len(self.train_inputs), generator=torch_generator(seed)).to(self.train_inputs.device)
        kept, held = order[count:], order[:count]
        inputs, targets = self.train_inputs, self.train_targets
        return type(self)(inputs[kept], targets[kept], inputs[held], targets[held])


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
