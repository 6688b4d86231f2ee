"""Candidates that differ from a base point in one weight each, run as one batch with the base point's weights.

Forward hooks at the layers add to the rows of each candidate what its one weight changes there (`one_weight`). So any
Python code may stand around the layers, and a layer may be used several times. A rule is trusted once it has given what
the plain network gives with a weight changed, on inputs made for the purpose: tried once for each parameter and shape
of a state. A parameter whose layer is not called, that is tied or computed from others, or that some code reads beside
its layer, fails there or has no rule, and its candidates run with weights of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call

from problems.pde.candidates.chunks import check_rows, states_that_fit
from problems.pde.candidates.one_weight import Changes, add_changes, has_rule
from zotoolkit.engines.base import say_once
from zotoolkit.engines.layout import ParameterLayout, ParameterSlot
from zotoolkit.queries import CoordinateBatch
from zotoolkit.seeding import torch_generator

_TRIAL_DRAW = 0x7A1
_TRIAL_STATES = 2

# By slot, in a chunk of candidates.
Plan = dict[int, Changes]


class SharedWeights:
    """Runs coordinate batches of a network.

    Args:
        module: The network.
        layout: Its parameters.
    """

    def __init__(self, module: nn.Module, layout: ParameterLayout) -> None:
        self._module = module
        self._runner = _InChunks(module)
        self._layout = layout
        self._layers = {
            number: layer for number, slot in enumerate(layout.slots) if (layer := _layer(module, slot, layout))
        }
        self._tried: dict[tuple[object, ...], Tensor] = {}

    def covers(self, batch: CoordinateBatch, inputs: Tensor) -> Tensor:
        """Return for each query, `(P,)` bool, whether its one weight has a rule that holds for such inputs."""
        key = (tuple(inputs.shape[2:]), inputs.dtype, inputs.device)
        if key not in self._tried:
            self._tried[key] = self._try(batch.base, inputs)
        return self._tried[key][self._layout.slot_of(batch.index)]

    def of(self, batch: CoordinateBatch) -> Callable[[Tensor], Tensor]:
        """Return what answers `(P, W, *I)` inputs of the batch's P candidates, all covered."""
        weights = self._layout.unflatten(batch.base)
        plans: dict[int, list[Plan]] = {}

        def answer(inputs: Tensor) -> Tensor:
            states = states_that_fit(self._module, inputs, lambda row: functional_call(self._module, weights, (row,)))
            size = min(len(batch), max(1, states // inputs.shape[1]))
            if size not in plans:
                plans[size] = [self._plan(part) for part in batch.split(size)]
            return self._run(weights, inputs, size, plans[size])

        return answer

    def _run(self, weights: dict[str, Tensor], inputs: Tensor, size: int, plans: list[Plan]) -> Tensor:
        """Return the outputs of candidates in chunks of a size, each with a plan."""
        self._runner.begin(inputs.shape[1], size, plans)
        with ExitStack() as hooks:
            for number in {number for plan in plans for number in plan}:
                layer, name = self._layers[number], self._layout.slots[number].name.rpartition(".")[2]
                hooks.callback(layer.register_forward_hook(self._runner.hook(number, name)).remove)
            named = {f"module.{name}": value for name, value in weights.items()}
            output = functional_call(self._runner, named, (inputs.flatten(0, 1),))
        return check_rows(output, inputs).unflatten(0, inputs.shape[:2])

    def _plan(self, batch: CoordinateBatch) -> Plan:
        slots = self._layout.slot_of(batch.index)
        plan: Plan = {}
        for number in slots.unique().tolist():
            slot = self._layout.slots[number]
            rows = (slots == number).nonzero().flatten()
            place = torch.unravel_index(batch.index[rows] - slot.start, slot.shape)
            plan[number] = Changes(rows, tuple(place), batch.scale[rows])
        return plan

    def _try(self, base: Tensor, inputs: Tensor) -> Tensor:
        """Return by slot, `(slots,)` bool, whether its rule gives what the plain network gives."""
        holds = torch.zeros(len(self._layout.slots), dtype=torch.bool)
        numbers = sorted(self._layers)
        if not numbers:
            return holds.to(inputs.device)
        chance = torch_generator(0, _TRIAL_DRAW)
        slots = [self._layout.slots[number] for number in numbers]
        index = [slot.start + int(torch.randint(slot.size, (), generator=chance)) for slot in slots]
        largest = float(base.abs().max())
        batch = CoordinateBatch(
            base=base,
            scale=base.new_full((len(index),), largest if 0 < largest < math.inf else 1.0),
            index=torch.tensor(index, device=base.device),
        )
        drawn = _trial_states(inputs, len(index), chance)
        weights = self._layout.unflatten(base)
        try:
            found = self._run(weights, drawn, len(index), [self._plan(batch)])
        except (RuntimeError, IndexError) as error:  # rows that are not where a rule looks for them
            say_once(f"{type(self._module).__name__} does not keep one row a state, so no weights are shared: {error}")
            return holds.to(inputs.device)
        for row, (number, point) in enumerate(zip(numbers, batch.points(), strict=True)):
            wanted = functional_call(self._module, self._layout.unflatten(point), (drawn[row],))
            unchanged = functional_call(self._module, weights, (drawn[row],))
            holds[number] = _agree(found[row], wanted, unchanged)
        if failed := [self._layout.slots[number].name for number in numbers if not holds[number]]:
            say_once(
                f"what {', '.join(failed)} of {type(self._module).__name__} do cannot be told from their layers alone, "
                "so candidates that change these run with weights of their own, which is slower."
            )
        return holds.to(inputs.device)


class _InChunks(nn.Module):
    """Runs a module on chunks of candidates' rows, so that one functional_call does for all of them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._width, self._size, self._plans = 1, 1, list[Plan]()
        self._plan: Plan = {}

    def begin(self, width: int, size: int, plans: list[Plan]) -> None:
        """Set what the next pass is of: W states a candidate, `size` candidates a chunk and a plan for each chunk."""
        self._width, self._size, self._plans = width, size, plans

    def forward(self, rows: Tensor) -> Tensor:
        """Return the outputs of `(P * W, *I)` rows."""
        parts: list[Tensor] = []
        for part, plan in zip(rows.split(self._size * self._width), self._plans, strict=True):
            self._plan = plan
            parts.append(self.module(part))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def hook(self, number: int, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        """Return what a layer calls after its pass: it adds the changes of a slot in the chunk that is running."""

        def after(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            if (changes := self._plan.get(number)) is not None:
                split = (-1, self._width)
                add_changes(layer, name, given[0].unflatten(0, split), output.unflatten(0, split), changes)

        return after


def _layer(module: nn.Module, slot: ParameterSlot, layout: ParameterLayout) -> nn.Module | None:
    """Return the layer that a parameter belongs to, if a rule knows what it does there."""
    path, _, name = slot.name.rpartition(".")
    layer = module.get_submodule(path)
    alone = not slot.aliases and slot.dtype == layout.dtype
    return layer if alone and has_rule(layer, name) else None


def _trial_states(inputs: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """Return `(count, W, *I)` states like the inputs, no two of them alike, so that mixed rows show."""
    like = inputs.detach().flatten(0, 1)
    like = torch.where(torch.isfinite(like), like, 0)
    rows = torch.arange(count * _TRIAL_STATES, device=like.device) % len(like)
    shape = (len(rows), *like.shape[1:])
    drawn = torch.randn(shape, generator=chance, dtype=torch.float64).to(like)
    states = like[rows] * (1 + drawn / 10) if bool(like.any()) else drawn
    return states.unflatten(0, (count, _TRIAL_STATES))


def _agree(found: Tensor, wanted: Tensor, unchanged: Tensor) -> bool:
    """Return whether the outputs are equal but for rounding, seen against the size of the change as well."""
    if found.shape != wanted.shape:
        return False
    apart, change = float((found - wanted).abs().max()), float((wanted - unchanged).abs().max())
    rounding = 1e3 * torch.finfo(wanted.dtype).eps * float(wanted.abs().max())
    return apart <= 1e-3 * change + rounding
