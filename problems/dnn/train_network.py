"""Training a network as a black box: a query is a parameter vector, its answer the loss on a mini-batch.

Context k names mini-batch k: each epoch is a permutation of the training set drawn from (seed, epoch), cut into whole
batches; what is left over sits the epoch out. Nothing is kept between queries, so any process can answer any of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from typing_extensions import override

from problems.dnn.data import SupervisedData
from zotoolkit.checks import check_choice, check_count
from zotoolkit.engines import Engine, Loss, VmapEngine
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seed, torch_generator
from zotoolkit.spaces import make_space

_INIT_DRAW, _EPOCH_DRAW, _LAYER_DRAW = 0x501, 0x502, 0x503
_EVALUATION_ROWS = 4096

EngineFactory = Callable[[nn.Module, Loss], Engine]


class TrainNetwork(BlackBoxObjective):
    """The training loss of a network, as a function of its parameters.

    The start point is the network's own initialisation: `reset(seed=...)` builds it anew with torch's generators set to
    that seed, and puts them back afterwards. `noise_free` is the loss over the whole training set, with dropout off and
    batch norm on the whole set's statistics. `metrics` gives the losses of both sets, and accuracies where targets are
    classes.

    Args:
        module: Builds the network; called once a seed. For a trained one: `lambda: copy.deepcopy(network)`.
        data: What to train on and test with.
        loss: `loss(output, target)` returns one number, the mean over the samples.
        batch_size: Samples a mini-batch; None for the whole training set.
        mode: "train" answers queries with dropout and batch statistics on, "eval" with both off.
        engine: Called with the network and the loss; answers many parameter vectors at once.
        low: Lower bound of the parameters, a number.
        high: Upper bound.
        device: Where data and points live.
        name: For reports.

    Raises:
        InvalidSetting: If a setting cannot be used.

    Example:
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
        engine: EngineFactory = VmapEngine,
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
        first = self._initialised(0)
        self.engine = engine(first.train(mode == "train"), loss)
        self.layout = self.engine.layout
        super().__init__(make_space(self.layout.dim, low, high, self.layout.dtype), device=device)
        self.data = data.to(self.device)
        count = len(self.data.train_inputs)
        self.batch_size = count if batch_size is None else check_count(batch_size, "batch_size")
        if self.batch_size > count:
            raise InvalidSetting(f"batch_size must be at most the {count} training samples, got {self.batch_size}.")
        self.batches_per_epoch = count // self.batch_size
        self._prepared: int | None = None
        self._order: tuple[tuple[int, int], Tensor] | None = None
        self.metadata = {
            "name": name or type(first).__name__,
            "parameters": self.layout.dim,
            "batch_size": self.batch_size,
            "train_samples": count,
            "test_samples": 0 if data.test_inputs is None else len(data.test_inputs),
        }

    # Queries --------------------------------------------------------------------------------------------------------

    def minibatch(self, context: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets that context names."""
        inputs, targets = self.data.train_inputs, self.data.train_targets
        if self.batch_size == len(inputs):
            return inputs, targets
        epoch, position = divmod(context, self.batches_per_epoch)
        rows = self._epoch_order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]
        return inputs[rows], targets[rows]

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

    # The truth ------------------------------------------------------------------------------------------------------

    @override
    def noise_free(self, x: Tensor) -> Tensor:
        self._prepare()
        inputs, targets = self.data.train_inputs, self.data.train_targets
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for rows in self._evaluation_rows(len(inputs)):
            total += self._whole_engine.dense(x, inputs[rows], targets[rows]).double() * len(inputs[rows])
        return total / len(inputs)

    @override
    def metrics(self, x: Tensor) -> dict[str, float]:
        network = self.network(x)
        figures: dict[str, float] = {}
        for part in ("train", "test"):
            inputs, targets = getattr(self.data, f"{part}_inputs"), getattr(self.data, f"{part}_targets")
            if inputs is not None:
                figures |= {f"{part}_{name}": value for name, value in self._figures(network, inputs, targets).items()}
        return figures

    def network(self, x: Tensor) -> nn.Module:
        """Return the network at one `(d,)` point, in evaluation mode: what training is for.

        The statistics of batch norms are averaged over the mini-batches of the first epoch.
        """
        network = copy.deepcopy(self._prepare())
        self.layout.write(x, network)
        norms = [part for part in network.modules() if isinstance(part, _NormBase) and part.track_running_stats]
        network.eval()
        if norms and self._mode == "train":
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain average
                norm.train()
            with torch.no_grad():
                for context in range(self.batches_per_epoch):
                    network(self.minibatch(context)[0])
            network.eval()
        return network

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
            self._whole_engine = self._make_engine(self._for_whole_set(module), self._loss)
            self._prepared = self.seed
        return self._module

    def _for_whole_set(self, module: nn.Module) -> nn.Module:
        """Return a copy without randomness, whose batch norms use the statistics of what they are given."""
        module = copy.deepcopy(module).eval()
        for part in module.modules():
            if isinstance(part, _NormBase) and self._mode == "train":
                part.train()
        return module

    def _evaluation_rows(self, count: int) -> Iterator[slice]:
        """Yield blocks of the training set; one block where statistics must be the whole set's."""
        whole = any(isinstance(part, _NormBase) and part.training for part in self._whole_engine.module.modules())
        size = count if whole else _EVALUATION_ROWS
        for start in range(0, count, size):
            yield slice(start, start + size)

    def _figures(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, float]:
        loss, correct = 0.0, 0
        classes = False
        with torch.no_grad():
            for part, target in zip(inputs.split(_EVALUATION_ROWS), targets.split(_EVALUATION_ROWS), strict=True):
                output = network(part)
                loss += float(self._loss(output, target)) * len(part)
                classes = target.ndim == 1 and target.dtype == torch.int64 and output.ndim == 2
                if classes:
                    correct += int((output.argmax(1) == target).sum())
        figures = {"loss": loss / len(inputs)}
        return figures | ({"accuracy": correct / len(inputs)} if classes else {})

    def _epoch_order(self, epoch: int) -> Tensor:
        key = (self.seed, epoch)
        if self._order is None or self._order[0] != key:
            generator = torch_generator(self.seed, epoch, _EPOCH_DRAW)
            order = torch.randperm(len(self.data.train_inputs), generator=generator).to(self.device)
            self._order = (key, order)
        return self._order[1]

    def _layer_seed(self, context: int) -> int:
        return derive_seed(self.seed, context, _LAYER_DRAW)
