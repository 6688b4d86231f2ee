"""A random mask that keeps a given share of each layer, renewed every few iterations or epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Union

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count, check_fraction
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import InvalidSetting, brief, did_you_mean
from zotoolkit.masks.base import Mask
from zotoolkit.masks.ratios import maskable_slots, uniform_ratios
from zotoolkit.seeding import torch_generator
from zotoolkit.structure import Structure, fitting

_LAYER_DRAW = 3

Keep = Union[float, Mapping[str, float]]


@dataclass(frozen=True)
class LayerwiseRandomMask(Mask):
    """Keeps a random share of each convolution and linear weight alive, and all of every other parameter.

    Args:
        keep: One share in (0, 1] for all layers, or a ratio in [0, 1] by parameter name, as `score_ratios` returns; a
            layer of n weights then keeps round(ratio * n).
        refresh: Draw anew every so many iterations.
        refresh_epochs: Draw anew every so many epochs instead; needs an objective that tells
            `metadata["batches_per_epoch"]`.
        layout: Where the layers are; by default as the objective tells when a solver is attached to it.

    Raises:
        InvalidSetting: If a setting is out of range.

    Examples:
        >>> layout = ParameterLayout.of(torch.nn.Linear(3, 2))
        >>> mask = LayerwiseRandomMask({"weight": 0.5}, layout=layout)
        >>> mask.alive(dim=8, iteration=0, seed=0)[-2:].tolist()  # the biases
        [6, 7]

    Source: Chen et al., DeepZero, ICLR 2024, Algorithm 1; Liu et al., ICLR 2022 (random pruning).
    """

    keep: Keep
    refresh: int = 1
    refresh_epochs: int | None = None
    layout: ParameterLayout | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_count(self.refresh, "refresh")
        if self.refresh_epochs is not None:
            check_count(self.refresh_epochs, "refresh_epochs")
            if self.refresh != 1:
                raise InvalidSetting(
                    f"give refresh or refresh_epochs, not both: got {self.refresh} and {self.refresh_epochs}."
                )
        if not isinstance(self.keep, Mapping):
            check_fraction(self.keep, "keep")
            return
        for name, ratio in self.keep.items():
            if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0 <= float(ratio) <= 1:
                raise InvalidSetting(f"keep[{name!r}] must be a number in [0, 1], got {brief(ratio)}.")

    @override
    def prepared(self, structure: Structure, x0: Tensor) -> LayerwiseRandomMask:
        """Return the mask that knows its layers.

        Raises:
            InvalidSetting: If the objective tells no layout, or no epochs where they are needed.
        """
        layout = self.layout or structure.needed_layout(len(x0), type(self).__name__)
        refresh = self.refresh
        if self.refresh_epochs is not None:
            if structure.batches_per_epoch is None:
                raise InvalidSetting(
                    f"refresh_epochs={self.refresh_epochs} needs an objective that tells "
                    "metadata['batches_per_epoch']; count in iterations with refresh."
                )
            refresh = self.refresh_epochs * structure.batches_per_epoch
        # Shares become ratios once, not once an iteration.
        return replace(self, keep=self._ratios(layout), refresh=refresh, refresh_epochs=None, layout=layout)

    @override
    def alive(self, dim: int, iteration: int, seed: int) -> Tensor:
        if self.layout is None or self.refresh_epochs is not None:
            raise InvalidSetting(
                f"{self!r} knows no layers or epochs yet: solver.attach(objective) tells them, as does "
                "prepared(structure, x0)."
            )
        layout, ratios = fitting(self.layout, dim), self._ratios(self.layout)
        parts: list[Tensor] = []
        for number, slot in enumerate(layout.slots):
            if slot.name not in ratios:
                parts.append(torch.arange(slot.start, slot.stop))
                continue
            generator = torch_generator(seed, iteration // self.refresh, _LAYER_DRAW, number)
            drawn = torch.randperm(slot.size, generator=generator)[: round(ratios[slot.name] * slot.size)]
            parts.append(slot.start + drawn.sort().values)
        alive = torch.cat(parts)
        if not len(alive):
            raise InvalidSetting("keep leaves no coordinate alive; raise a layer's ratio.")
        return alive

    def _ratios(self, layout: ParameterLayout) -> Mapping[str, float]:
        """Return a ratio for each maskable parameter.

        Raises:
            InvalidSetting: If one has none, or there is one for something else.
        """
        if not isinstance(self.keep, Mapping):
            return uniform_ratios(layout, 1.0 - self.keep)
        names = [slot.name for slot in maskable_slots(layout)]
        for name in self.keep:
            if name not in names:
                raise InvalidSetting(
                    f"keep names {name!r}, which is no convolution or linear weight.{did_you_mean(name, names)}"
                )
        if missing := [name for name in names if name not in self.keep]:
            raise InvalidSetting(f"keep must have a ratio for every layer, but has none for {', '.join(missing)}.")
        return self.keep
