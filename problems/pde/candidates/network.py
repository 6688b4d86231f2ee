"""Many candidates' networks at once: candidate p's weights on candidate p's own states.

In an unrolled trajectory every candidate's network sees other states from the second step on, so that nothing can be
shared between candidates but the weights. Which way a batch of queries is answered:

    stack      a stack of plain convolutions on a CPU: compiled code (`problems.pde.candidates.stack`)
    own        a network that has a form of its own for many weights (`CandidateForm`): that form
    one weight a CoordinateBatch: all candidates' states go through the network as one batch, with the weights of the
               base point, and what the one weight changes is added at its layer (`problems.pde.candidates.shared`).
               No copies of the weights, and a change enters with its exact size where `base + scale` would round it
    weights    all others, and coordinates that no layer's rule covers: each candidate's own weights, batched by
               torch.func.vmap or one after the other (`problems.pde.candidates.weighted`)
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from typing_extensions import override

from problems.pde.candidates.shared import SharedWeights
from problems.pde.candidates.stack import Stack
from problems.pde.candidates.weighted import OwnWeights
from zotoolkit.checks import check_choice
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidState, brief
from zotoolkit.queries import CoordinateBatch, QueryBatch

Weights = Literal["auto", "vmap", "loop"]


class CandidateNetwork:
    """A network whose weights are queried.

    It keeps a copy of the module and never changes it. Each state must be answered by itself: an output row must not
    depend on other rows of the input, and no code may choose its way by the values of weights.

    Args:
        module: Takes one tensor `(B, *I)` and returns one tensor `(B, *O)`.
        weights: How candidates are run that differ in all weights: "vmap", "loop", or "auto", which takes the faster.
        compiled: Whether a stack of plain convolutions may run compiled. It then needs a C++ compiler on first use;
            without one, or on a GPU, the other ways do.

    Attributes:
        layout: How the network's parameters stand in a point.

    Raises:
        InvalidSetting: If the module has no trainable parameters, or has a layer that mixes rows or draws random
            numbers: batch norm or dropout in training mode.

    Examples:
        >>> network = CandidateNetwork(nn.Conv1d(1, 1, 1))
        >>> batch = CoordinateBatch(base=torch.zeros(2), scale=torch.ones(2), index=torch.tensor([0, 1]))
        >>> network.of(batch)(torch.full((2, 1, 1, 3), 5.0)).flatten(1)
        tensor([[5., 5., 5.],
                [1., 1., 1.]])
    """

    def __init__(self, module: nn.Module, *, weights: Weights = "auto", compiled: bool = True) -> None:
        self.layout = ParameterLayout.of(module)
        self._module = copy.deepcopy(module)
        check_choice(weights, ("auto", "vmap", "loop"), "weights")
        for name, part in self._module.named_modules():
            if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None):
                raise InvalidSetting(
                    f"{_at(name)}batch norm that uses the batch's own statistics mixes the states of all candidates; "
                    "call module.eval() after running statistics have been gathered, or use another norm."
                )
            if isinstance(part, _DropoutNd) and part.training and part.p > 0:
                raise InvalidSetting(
                    f"{_at(name)}dropout in training mode draws random numbers, so that no two queries compare; call "
                    "module.eval()."
                )
        self._own = OwnWeights(self._module, self.layout, weights)
        self._shared = SharedWeights(self._module, self.layout)
        self._stack = Stack.of(self._module, self.layout) if compiled and weights == "auto" else None

    def of(self, batch: QueryBatch) -> Candidates:
        """Return the networks of a batch's candidates, to be called in every step of an unrolled trajectory.

        Args:
            batch: P >= 1 queries around a base point of the network's d parameters.

        Raises:
            InvalidBatch: If the batch's dimension or dtype is not the network's, or it is empty.
        """
        if not isinstance(batch, QueryBatch) or batch.dim != self.layout.dim or batch.dtype != self.layout.dtype:
            raise InvalidBatch(
                f"the batch must hold queries of d={self.layout.dim} and dtype {self.layout.dtype}, got {brief(batch)}."
            )
        if not len(batch):
            raise InvalidBatch("the batch is empty; there is no network to run.")
        if isinstance(batch, CoordinateBatch) and not self._own.has_form:
            general: Candidates = _OneWeight(batch, self._shared, self._own)
        else:
            general = _AllWeights(batch, self._own)
        return general if self._stack is None else _Compiled(batch, self._stack, general)

    def single(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the network at one point, `(W, *I)` -> `(W, *O)`; autograd goes through it to the point.

        Args:
            x: `(d,)`.

        Raises:
            InvalidBatch: If x is not `(d,)`.
        """
        if not isinstance(x, Tensor) or x.ndim != 1:
            raise InvalidBatch(f"x must be a (d,) tensor, got {brief(x)}.")
        weights = self.layout.unflatten(x)
        return lambda inputs: functional_call(self._module, weights, (inputs,))


class Candidates(ABC):
    """P candidates' networks, made by `CandidateNetwork.of`; no gradients go through.

    Args:
        batch: The candidates.
    """

    def __init__(self, batch: QueryBatch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return each candidate's outputs for its own states.

        Args:
            inputs: `(P, W, *I)` of the points' dtype, left as they are.

        Returns:
            `(P, W, *O)` in memory of its own.

        Raises:
            InvalidState: If inputs does not hold W >= 1 states for each of the P candidates, or the network does not
                answer with one row a state.
        """
        if not isinstance(inputs, Tensor) or inputs.ndim < 2 or inputs.shape[0] != len(self) or not inputs.shape[1]:
            raise InvalidState(f"inputs must be ({len(self)}, W, ...), W >= 1 states a candidate, got {brief(inputs)}.")
        with torch.no_grad():
            return self._answer(inputs)

    @abstractmethod
    def _answer(self, inputs: Tensor) -> Tensor:
        """Return `(P, W, *O)` for `(P, W, *I)`."""


class _Compiled(Candidates):
    """A stack of convolutions; inputs that the compiled code does not take go the general way."""

    def __init__(self, batch: QueryBatch, stack: Stack, general: Candidates) -> None:
        super().__init__(batch)
        self._stack, self._general = stack, general
        self._run = stack.candidates_of(batch)

    @override
    def _answer(self, inputs: Tensor) -> Tensor:
        return self._run(inputs) if self._stack.takes(inputs) else self._general._answer(inputs)


class _AllWeights(Candidates):
    """Each candidate with weights of its own."""

    def __init__(self, batch: QueryBatch, own: OwnWeights) -> None:
        super().__init__(batch)
        self._own = own.of(batch)

    @override
    def _answer(self, inputs: Tensor) -> Tensor:
        return self._own(inputs)


class _OneWeight(Candidates):
    """Candidates that differ from the base point in one weight each; those that no rule covers have their own ones."""

    def __init__(self, batch: CoordinateBatch, shared: SharedWeights, own: OwnWeights) -> None:
        super().__init__(batch)
        self._coordinates = batch
        self._networks = (shared, own)
        self._split: tuple[tuple[Tensor | None, Callable[[Tensor], Tensor]], ...] | None = None

    @override
    def _answer(self, inputs: Tensor) -> Tensor:
        if self._split is None:
            self._split = self._prepare(inputs)
        answers = [(rows, call(inputs if rows is None else inputs[rows])) for rows, call in self._split]
        if len(answers) == 1:
            return answers[0][1]
        output = inputs.new_empty(len(self), *answers[0][1].shape[1:])
        for rows, answer in answers:
            output[rows] = answer
        return output

    def _prepare(self, inputs: Tensor) -> tuple[tuple[Tensor | None, Callable[[Tensor], Tensor]], ...]:
        """Return the parts of the batch and what answers them; the first inputs tell which rules hold."""
        batch, (shared, own) = self._coordinates, self._networks
        covered = shared.covers(batch, inputs)
        if bool(covered.all()):
            return ((None, shared.of(batch)),)
        if not bool(covered.any()):
            return ((None, own.of(batch)),)
        here, there = covered.nonzero().flatten(), (~covered).nonzero().flatten()
        return ((here, shared.of(batch[here])), (there, own.of(batch[there])))


def _at(name: str) -> str:
    return f"{name}: " if name else ""
