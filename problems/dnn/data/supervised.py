"""A training and a test set as tensors, with their normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from problems.dnn.data.selection import chosen
from problems.dnn.data.torch_dataset import stacked
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import torch_generator

_WHITE = 255  # of uint8 images


@dataclass(frozen=True, eq=False)
class SupervisedData:
    """Inputs and targets, one row a sample.

    Images may stay uint8 in memory: with `mean` and `std` given, `normalised` makes a block of them floating point
    where and when it is used, on its own device. A mean of 0 and a std of 1 only bring uint8 to [0, 1].

    Args:
        train_inputs: `(n, ...)` floating point or integer.
        train_targets: `(n, ...)`; int64 class indices for classification.
        test_inputs: `(m, ...)`; None if there is no test set.
        test_targets: `(m, ...)`.
        mean: Taken off the inputs, a number or one for each channel (axis 1); of uint8 inputs after division by 255.
            None leaves inputs as they are.
        std: What they are divided by after that; given together with mean.
        dtype: What integer inputs are normalised into; None for float32, or in `TrainNetwork` for the network's dtype.

    Raises:
        InvalidSetting: If inputs and targets do not have one row a sample each, there is no sample, the two sets have
            samples of different shapes, or mean and std do not fit the inputs.

    Examples:
        >>> images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> data = SupervisedData(images, torch.tensor([0, 1]), mean=0.5, std=0.25)
        >>> data.normalised(data.train_inputs).flatten().tolist()
        [-2.0, 2.0]
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor | None = None
    test_targets: Tensor | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    dtype: torch.dtype | None = None

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
        if self.test_inputs is not None and self.test_inputs.shape[1:] != self.train_inputs.shape[1:]:
            ours, theirs = tuple(self.train_inputs.shape[1:]), tuple(self.test_inputs.shape[1:])
            raise InvalidSetting(f"training and test samples must have one shape, got {ours} and {theirs}.")
        self._check_normalisation()

    @classmethod
    def from_dataset(
        cls,
        train: Any,
        test: Any = None,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
    ) -> Self:
        """Stack map-style `torch.utils.data.Dataset`s of (input, target) pairs into memory.

        Each sample is read once, so a transform that draws random numbers is frozen at its first draw; `augment` of
        `TrainNetwork` draws anew for each mini-batch.

        Args:
            train: Has a length and gives a pair of tensors, arrays or numbers for each index.
            test: Likewise, None if there is no test set.
            mean: As in the class.
            std: As in the class.

        Raises:
            InvalidSetting: If a data set is empty or iterable-style, a sample is no pair of tensors, arrays or numbers,
                or samples differ in shape.
        """
        held = (None, None) if test is None else stacked(test, "test")
        return cls(*stacked(train, "train"), *held, mean=mean, std=std)

    def normalised(self, inputs: Tensor) -> Tensor:
        """Return a block of `(n, ...)` inputs as the network takes it: `(inputs - mean) / std`, in floating point."""
        if self.mean is None or self.std is None:
            return inputs
        dtype = inputs.dtype if inputs.is_floating_point() else self.dtype or torch.float32
        # In double precision: the constants are a handful, and a subtraction of rounded ones would cancel.
        mean, std = (torch.as_tensor(value, dtype=torch.float64).reshape(-1) for value in (self.mean, self.std))
        white = _WHITE if inputs.dtype == torch.uint8 else 1
        shape = (1, -1, *[1] * (inputs.ndim - 2)) if inputs.ndim > 1 else (-1,)
        factor, shift = (1 / (white * std)).view(shape), (mean / std).view(shape)
        return inputs.to(dtype) * factor.to(inputs.device, dtype) - shift.to(inputs.device, dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """Return the data on a device, and its floating-point parts in a dtype; integer ones are normalised into it."""

        def moved(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            return value.to(device, dtype if value.is_floating_point() else None)

        names = ("train_inputs", "train_targets", "test_inputs", "test_targets")
        changes: dict[str, Any] = {name: moved(getattr(self, name)) for name in names}
        return dataclasses.replace(self, **changes, dtype=dtype or self.dtype)

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
        return dataclasses.replace(
            self,
            train_inputs=inputs[kept],
            train_targets=targets[kept],
            test_inputs=inputs[held],
            test_targets=targets[held],
        )

    def subset(self, train: int | None = None, test: int | None = None, seed: int = 0) -> Self:
        """Return fewer samples, for shorter runs: as many of each class as there can be, where targets are classes.

        A smaller subset of the same seed lies within a larger one.

        Args:
            train: Training samples, None for all.
            test: Test samples, None for all.
            seed: Which samples.

        Raises:
            InvalidSetting: If more are asked for than there are, or test samples where there is no test set.
        """
        changes: dict[str, Tensor] = {}
        for part, count in (("train", train), ("test", test)):
            if count is None:
                continue
            inputs: Tensor | None = getattr(self, f"{part}_inputs")
            targets: Tensor | None = getattr(self, f"{part}_targets")
            there = 0 if inputs is None else len(inputs)
            if check_count(count, part) > there or inputs is None or targets is None:
                raise InvalidSetting(f"{part} must be at most the {there} samples that there are, got {count}.")
            rows = chosen(targets, count, seed)
            changes |= {f"{part}_inputs": inputs[rows], f"{part}_targets": targets[rows]}
        return dataclasses.replace(self, **changes)

    def _check_normalisation(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise InvalidSetting("mean and std come together: give both or neither.")
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise InvalidSetting(f"dtype must be a floating-point dtype, got {self.dtype}.")
        if self.mean is None:
            return
        shape = tuple(self.train_inputs.shape)
        for name in ("mean", "std"):
            try:
                value = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            except (TypeError, ValueError, RuntimeError) as error:
                given = brief(getattr(self, name))
                raise InvalidSetting(f"{name} must be a number or one a channel, got {given}.") from error
            fits = value.numel() == 1 or (value.ndim == 1 and len(shape) > 1 and len(value) == shape[1])
            if not fits or not value.isfinite().all() or (name == "std" and bool((value <= 0).any())):
                law = "finite" if name == "mean" else "finite and above 0"
                raise InvalidSetting(
                    f"{name} must be {law}, one number or one for each channel of {shape}, got {value.tolist()}."
                )
