"""Mini-batches as a pure function of (seed, context): no loader, no state, the same in every process."""

from __future__ import annotations

import torch
from torch import Tensor

from problems.dnn.data.augment import Augment
from problems.dnn.data.supervised import SupervisedData
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import derive_seed, torch_generator

_EPOCH_DRAW, _AUGMENT_DRAW = 0x502, 0x504


class MiniBatches:
    """A training set cut into mini-batches.

    Each epoch is a permutation drawn from (seed, epoch), cut into whole batches; what is left over sits it out. A batch
    is picked, then augmented, then normalised: only ever the batch, on the data's own device.

    Args:
        data: What is cut.
        batch_size: Samples a mini-batch; None for the whole training set.
        augment: Called with the batch's raw inputs and a seed of its own, returns inputs of the same shape.

    Attributes:
        size: Samples a mini-batch.
        per_epoch: Mini-batches an epoch.

    Raises:
        InvalidSetting: If batch_size is out of range, or augment cannot be called or changes the shape.
    """

    def __init__(self, data: SupervisedData, batch_size: int | None, augment: Augment | None = None) -> None:
        count = len(data.train_inputs)
        self.data = data
        self.size = count if batch_size is None else check_count(batch_size, "batch_size")
        if self.size > count:
            raise InvalidSetting(f"batch_size must be at most the {count} training samples, got {self.size}.")
        if augment is not None and not callable(augment):
            raise InvalidSetting(f"augment must be called as augment(inputs, seed), got {brief(augment)}.")
        self.augment = augment
        self.per_epoch = count // self.size
        self._order: tuple[tuple[int, int], Tensor] | None = None

    def at(self, seed: int, context: int) -> tuple[Tensor, Tensor]:
        """Return the inputs, as the network takes them, and the targets of mini-batch `context`."""
        inputs, targets = self.data.train_inputs, self.data.train_targets
        if self.size < len(inputs):
            epoch, position = divmod(context, self.per_epoch)
            rows = self.order(seed, epoch)[position * self.size : (position + 1) * self.size]
            inputs, targets = inputs[rows], targets[rows]
        if self.augment is not None:
            shape = inputs.shape
            inputs = self.augment(inputs, derive_seed(seed, context, _AUGMENT_DRAW))
            if inputs.shape != shape:
                raise InvalidSetting(f"augment must keep the shape {tuple(shape)}, got {brief(inputs)}.")
        return self.data.normalised(inputs), targets

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the `(n,)` rows of the training set in an epoch's order."""
        key = (seed, epoch)
        if self._order is None or self._order[0] != key:
            count = len(self.data.train_inputs)
            order = torch.randperm(count, generator=torch_generator(seed, epoch, _EPOCH_DRAW))
            self._order = (key, order.to(self.data.train_inputs.device))
        return self._order[1]
