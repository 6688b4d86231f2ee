"""Training a network as a black box: a query is a parameter vector, its answer the loss on a mini-batch.

Context k names mini-batch k: each epoch is a permutation of the training set drawn from (seed, epoch), cut into whole
batches; what is left over sits the epoch out. Nothing is kept between queries, so any process can answer any of them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from typing_extensions import override

from problems.dnn.data.augment import Augment
from problems.dnn.data.supervised import SupervisedData
from problems.dnn.evaluation import blocks, figures, re_estimate
from problems.dnn.minibatches import MiniBatches
from problems.dnn.network_checks import check_network
from zotoolkit.checks import check_choice, check_count, check_device
from zotoolkit.engines import Engine, Loss, ParameterLayout, ReplayEngine
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seed
from zotoolkit.spaces import make_space

# Queries between two chances to stop, for engines that manage their memory themselves.
_STREAMED = 4096
_INIT_DRAW, _LAYER_DRAW = 0x501, 0x503

EngineFactory = Callable[[nn.Module, Loss], Engine]


class TrainNetwork(BlackBoxObjective):
    """The training loss of a network, as a function of its parameters.

    The start point is the network's own initialisation: `reset(seed=...)` builds it anew with torch's generators set to
    that seed, and puts them back afterwards.

    `noise_free` is the function that training minimises, with dropout off. As a rule that is the loss over the whole
    training set. Where a sample's loss depends on its mini-batch, because batch norm trains or images are augmented, it
    is the average of the queries over the mini-batches of the first epoch.

    `metrics` gives the losses of both sets as they are, not augmented, with everything in evaluation mode, and
    accuracies where targets are classes; batch norm uses statistics re-estimated at the point, see `network`.

    Args:
        module: Builds the network; called once a seed. For a trained one: `lambda: copy.deepcopy(network)`.
        data: What to train on and test with.
        loss: `loss(output, target)` returns one number, the mean over the samples.
        batch_size: Samples a mini-batch; None for the whole training set.
        mode: "train" answers queries with dropout and batch statistics on, "eval" with both off.
        augment: Called with the raw inputs of a mini-batch and a seed of its own; `CropFlip()` for small photographs.
        evaluation_samples: How many training samples `noise_free` and `metrics` take, the first of the first epoch;
            None for all. All test samples are always taken.
        norm_samples: How many training samples the statistics of batch norms are re-estimated from, in whole
            mini-batches.
        engine: Called with the network and the loss; answers many parameter vectors at once.
        low: Lower bound of the parameters, a number.
        high: Upper bound.
        device: Where data and points live.
        name: For reports.

    Attributes:
        layout: Where each parameter of the network stands in a point, and what it is for.
        batch_size: Samples a mini-batch.
        batches_per_epoch: Mini-batches an epoch.

    Raises:
        InvalidSetting: If a setting cannot be used, the device is not there, the network is no pure function of
            parameters and mini-batch, or labels do not fit its output; see `problems.dnn.network_checks`.

    Examples:
        >>> data = SupervisedData(torch.eye(4), torch.tensor([0, 1, 0, 1]))
        >>> objective = TrainNetwork(lambda: nn.Linear(4, 2), data, batch_size=2)
        >>> x0, _ = objective.reset(seed=0)
        >>> objective.dim, sorted(objective.metrics(x0))
        (10, ['train_accuracy', 'train_loss'])
    """

    def __init__(
        self,
        module: Callable[[], nn.Module],
        data: SupervisedData,
        *,
        loss: Loss = functional.cross_entropy,
        batch_size: int | None = 32,
        mode: str = "train",
        augment: Augment | None = None,
        evaluation_samples: int | None = None,
        norm_samples: int = 5_000,
        engine: EngineFactory = ReplayEngine,
        low: float = -float("inf"),
        high: float = float("inf"),
        device: torch.device | str = "cpu",
        name: str | None = None,
    ) -> None:
        if isinstance(module, nn.Module) or not callable(module):
            raise InvalidSetting(
                f"module must be a function that builds a network, got {brief(module)}; "
                "for a network that there is already: lambda: copy.deepcopy(network)."
            )
        if not isinstance(data, SupervisedData):
            raise InvalidSetting(f"data must be SupervisedData(train_inputs, train_targets, ...), got {brief(data)}.")
        self._build = module
        self._loss = loss
        self._make_engine = engine
        self._mode = check_choice(mode, ("train", "eval"), "mode")
        self._norm_samples = check_count(norm_samples, "norm_samples")
        device = check_device(device)
        first = self._initialised(0).train(mode == "train")
        self.layout = ParameterLayout.of(first)
        super().__init__(make_space(self.layout.dim, low, high, self.layout.dtype), device=device)
        # Integer inputs are normalised into the dtype of the parameters.
        data = dataclasses.replace(data, dtype=data.dtype or self.layout.slots[0].dtype)
        self._batches = MiniBatches(data.to(device), batch_size, augment)
        self.data = self._batches.data
        self.batch_size, self.batches_per_epoch = self._batches.size, self._batches.per_epoch
        count = len(self.data.train_inputs)
        wanted = count if evaluation_samples is None else check_count(evaluation_samples, "evaluation_samples")
        self._evaluation_samples = min(count, wanted)
        check_network(first.to(device), loss, self.data, self.batch_size)
        self.engine = engine(first, loss)
        self._by_batch = augment is not None or _mixes_samples(first)
        self._prepared: int | None = None
        self.metadata = {
            "name": name or type(first).__name__,
            "parameters": self.layout.dim,
            "batch_size": self.batch_size,
            "batches_per_epoch": self.batches_per_epoch,
            "train_samples": count,
            "test_samples": 0 if data.test_inputs is None else len(data.test_inputs),
        }

    # Queries --------------------------------------------------------------------------------------------------------

    def minibatch(self, context: int) -> tuple[Tensor, Tensor]:
        """Return the inputs, augmented and normalised, and the targets that context names."""
        return self._batches.at(self.seed, context)

    @override
    def start(self) -> Tensor:
        return self.layout.flatten(self._prepare()).to(self.device)

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        self._prepare()
        return self.engine.dense(x, *self.minibatch(context), seed=self._layer_seed(context))

    @override
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        self._prepare()
        return self.engine.coordinates(batch, *self.minibatch(batch.context), seed=self._layer_seed(batch.context))

    @override
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        self._prepare()
        return self.engine.seeded(batch, *self.minibatch(batch.context), seed=self._layer_seed(batch.context))

    @override
    def costs(self, batch: QueryBatch) -> dict[str, float]:
        return self.engine.costs(batch)

    @override
    def queries_per_chunk(self, batch: QueryBatch) -> int:
        if not (isinstance(batch, CoordinateBatch) and self.engine.streams):
            return super().queries_per_chunk(batch)
        return _STREAMED if self._chunk_limit is None else min(_STREAMED, self._chunk_limit)

    # The truth ------------------------------------------------------------------------------------------------------

    @override
    def noise_free(self, x: Tensor) -> Tensor:
        self._prepare()
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        count = 0
        if self._by_batch:
            for context in range(self._first_batches(self._evaluation_samples)):
                total += self._whole_engine.dense(x, *self.minibatch(context)).double()
                count += 1
            return total / count
        inputs, targets = self._evaluated()
        for rows in blocks(inputs):
            target = targets[rows]
            values = self._whole_engine.dense(x, self.data.normalised(inputs[rows]), target)
            total += values.double() * len(target)
        return total / len(inputs)

    @override
    def metrics(self, x: Tensor) -> dict[str, float]:
        network = self.network(x)
        parts = {"train": self._evaluated()}
        if self.data.test_inputs is not None and self.data.test_targets is not None:
            parts["test"] = (self.data.test_inputs, self.data.test_targets)
        return {
            f"{part}_{name}": value
            for part, (inputs, targets) in parts.items()
            for name, value in figures(network, self._loss, self.data, inputs, targets).items()
        }

    def network(self, x: Tensor) -> nn.Module:
        """Return the network at one `(d,)` point, in evaluation mode: what training is for.

        Queries keep no running statistics, so those of its batch norms are re-estimated: averages over mini-batches of
        the first epoch, as queries see them, augmented, until `norm_samples` samples have been seen. In mode "eval"
        they stay as the network was built.

        Augmented, because the parameters were fitted to such inputs. A ResNet-20 trained with crops and flips has a
        test accuracy of 87.5 % with the statistics of its training, 87.5 to 87.7 % with ones from 1,024 to 10,240
        augmented images, and 84.4 to 84.6 % with ones from images as they are, however many.
        """
        network = copy.deepcopy(self._prepare())
        self.layout.write(x, network)
        if self._mode == "train":
            contexts = range(self._first_batches(self._norm_samples))
            re_estimate(network, (self.minibatch(context)[0] for context in contexts))
        return network.eval()

    def gradient(self, x: Tensor, context: int) -> tuple[Tensor, Tensor]:
        """Return the mini-batch loss and its `(d,)` gradient by back-propagation at one `(d,)` point.

        Not a query: for first-order references only.
        """
        self._prepare()
        inputs, targets = self.minibatch(context)
        with torch.enable_grad(), seeded_randomness(self._layer_seed(context), self.device):
            leaf = x.detach().clone().requires_grad_()
            output = functional_call(self.engine.module, self.layout.unflatten(leaf), (inputs,))
            value = self.engine.scalar_loss(output, targets)
            (slope,) = torch.autograd.grad(value, leaf)
        return value.detach(), slope

    # Inside ---------------------------------------------------------------------------------------------------------

    def _initialised(self, seed: int) -> nn.Module:
        """Build the network with torch's global generators set to the seed, and put them back."""
        with seeded_randomness(derive_seed(seed, _INIT_DRAW), torch.device("cpu")):
            module = self._build()
        if not isinstance(module, nn.Module):
            raise InvalidSetting(f"module must return a torch.nn.Module, got {brief(module)}.")
        return module

    def _prepare(self) -> nn.Module:
        """Return the network that belongs to the seed; frozen parameters and buffers are its own."""
        if self._prepared != self.seed:
            module = self._initialised(self.seed).to(self.device)
            self.engine = self._make_engine(module.train(self._mode == "train"), self._loss)
            if self.engine.layout != self.layout:
                raise InvalidSetting("module must build networks with the same parameters every time.")
            self._module = module
            self._whole_engine = self._make_engine(self._for_truth(module), self._loss)
            self._prepared = self.seed
        return self._module

    def _for_truth(self, module: nn.Module) -> nn.Module:
        """Return a copy without randomness, whose batch norms use the statistics of what they are given."""
        module = copy.deepcopy(module).eval()
        if self._mode == "train":
            for part in module.modules():
                if isinstance(part, _NormBase):
                    part.train()
        return module

    def _evaluated(self) -> tuple[Tensor, Tensor]:
        """Return the raw training inputs that are measured, and their targets."""
        inputs, targets = self.data.train_inputs, self.data.train_targets
        if self._evaluation_samples == len(inputs):
            return inputs, targets
        rows = self._batches.order(self.seed, 0)[: self._evaluation_samples]
        return inputs[rows], targets[rows]

    def _first_batches(self, samples: int) -> int:
        """Return how many mini-batches of the first epoch have so many samples, or all of them."""
        return min(self.batches_per_epoch, ceil(samples / self.batch_size))

    def _layer_seed(self, context: int) -> int:
        return derive_seed(self.seed, context, _LAYER_DRAW)


def _mixes_samples(module: nn.Module) -> bool:
    """Whether a sample's output depends on the others of its mini-batch, through batch norm's statistics."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    return any(norm.training or not norm.track_running_stats for norm in norms)
