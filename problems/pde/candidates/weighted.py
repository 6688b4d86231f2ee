"""Candidates that each have weights of their own.

A network may bring a form for this (`CandidateForm`). Any other runs under torch.func.vmap, or one candidate after the
other. vmap turns a convolution into one of P groups, whose kernels torch runs at a third of the speed of a plain one,
but saves P calls. On one core, microseconds a state:

    parameters                     vmap    loop    one weight each, shared
    278, (P=278, W=2, 64 x 32)      132     160     55
    8,434, (P=48, W=2, 64 x 32)    1010     660    340
    89 in 1-D, (P=89, W=16, 48)     0.9     7.0

(unfolding the input to matrix products, the obvious third way, took 120 to 380 and 1800 to 6100). So "auto" is vmap on
a GPU and for networks below 1,000 parameters, and the loop for larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from problems.pde.candidates.chunks import check_rows, states_that_fit
from zotoolkit.engines.base import say_once
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.queries import QueryBatch

_FEW_PARAMETERS = 1000
_LEAST_CANDIDATES = 32  # on a CPU; with 8 a pass under vmap took a fifth longer
_POINT_BYTES = 64 << 20


@runtime_checkable
class CandidateForm(Protocol):
    """A module that runs many candidates of itself at once faster than vmap would."""

    def candidates(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return each candidate's outputs.

        Args:
            weights: `(P, *shape)` parameters by their names in `named_parameters()`; only those that are trained.
            inputs: `(P, W, *I)`; candidate p's own W states.

        Returns:
            `(P, W, *O)`.
        """
        ...


class OwnWeights:
    """Runs candidates with weights of their own.

    Args:
        module: The network.
        layout: Its parameters.
        way: "auto", "vmap" or "loop".

    Attributes:
        has_form: Whether the network's own form is used; only "auto" does.
    """

    def __init__(self, module: nn.Module, layout: ParameterLayout, way: str) -> None:
        self.has_form = way == "auto" and isinstance(module, CandidateForm)
        self._module = module
        self._layout = layout
        self._way = way

    def of(self, batch: QueryBatch) -> Callable[[Tensor], Tensor]:
        """Return what answers `(P, W, *I)` inputs of the batch's P candidates."""
        kept: dict[int, list[Tensor]] = {}

        def points(size: int) -> Iterator[Tensor]:
            if len(batch) * batch.dim * batch.base.element_size() > _POINT_BYTES:
                return (part.points() for part in batch.split(size))
            if size not in kept:
                kept[size] = [part.points() for part in batch.split(size)]
            return iter(kept[size])

        def answer(inputs: Tensor) -> Tensor:
            size = self._candidates_that_fit(batch, inputs)
            parts = [
                self._run(part, inputs[number * size : number * size + len(part)])
                for number, part in enumerate(points(size))
            ]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        return answer

    def _candidates_that_fit(self, batch: QueryBatch, inputs: Tensor) -> int:
        def once(state: Tensor) -> Tensor:
            return functional_call(self._module, self._layout.unflatten(batch.base), (state,))

        fitting = max(1, states_that_fit(self._module, inputs, once) // inputs.shape[1])
        return fitting if inputs.is_cuda else max(_LEAST_CANDIDATES, fitting)

    def _run(self, points: Tensor, inputs: Tensor) -> Tensor:
        weights = self._layout.unflatten(points)
        if self.has_form:
            return self._checked(self._module.candidates(weights, inputs), inputs)  # pyright: ignore[reportCallIssue]
        if self._batches(inputs):
            try:
                return self._checked(vmap(self._one)(weights, inputs), inputs)
            except RuntimeError as error:
                if "vmap" not in str(error):
                    raise
                say_once(
                    f"torch.func.vmap cannot batch {type(self._module).__name__}, so candidates run one after the "
                    f"other: {str(error).strip().splitlines()[0]}"
                )
                self._way = "loop"
        rows = [self._one({name: value[p] for name, value in weights.items()}, inputs[p]) for p in range(len(inputs))]
        return self._checked(torch.stack(rows), inputs)

    def _one(self, weights: dict[str, Tensor], states: Tensor) -> Tensor:
        return functional_call(self._module, weights, (states,))

    def _batches(self, inputs: Tensor) -> bool:
        if self._way == "auto":
            return inputs.is_cuda or self._layout.dim < _FEW_PARAMETERS
        return self._way == "vmap"

    def _checked(self, output: Tensor, inputs: Tensor) -> Tensor:
        rows = output.flatten(0, 1) if isinstance(output, Tensor) and output.ndim > 1 else output
        return check_rows(rows, inputs).unflatten(0, inputs.shape[:2])
