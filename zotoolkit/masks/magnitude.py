"""A mask of the coordinates that are largest at the start point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.errors import InvalidSetting
from zotoolkit.masks.base import Mask
from zotoolkit.masks.fixed import FixedMask
from zotoolkit.masks.ratios import check_sparsity, score_ratios, uniform_ratios
from zotoolkit.masks.scores import magnitude_scores
from zotoolkit.structure import Structure, fitting, one_layer

SCOPES = ("global", "layer")


@dataclass(frozen=True)
class MagnitudeMask(Mask):
    """Keeps the weights of largest magnitude at the start point alive throughout, and all other parameters.

    On an objective that tells no layers, all coordinates are one layer of weights.

    Args:
        sparsity: Share of the convolution and linear weights that is not kept, in [0, 1).
        scope: "global" compares all of them with each other, "layer" keeps the same share of every layer.
        least: How many coordinates every layer keeps at least; with 0 one may lose all, which warns.

    Raises:
        InvalidSetting: If a setting is out of range.

    Examples:
        >>> mask = MagnitudeMask(sparsity=0.5).prepared(Structure(), torch.tensor([0.1, -3.0, 2.0, 0.0]))
        >>> mask.alive(dim=4, iteration=0, seed=0).tolist()
        [1, 2]
    """

    sparsity: float
    scope: str = "global"
    least: int = 0

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        check_choice(self.scope, SCOPES, "scope")
        check_count(self.least, "least", least=0)

    @override
    def prepared(self, structure: Structure, x0: Tensor) -> Mask:
        layout = fitting(structure.layout or one_layer(len(x0)), len(x0))
        scores = magnitude_scores(x0.detach()).cpu()
        if self.scope == "global":
            ratios = score_ratios(scores, layout, self.sparsity, self.least)
        else:
            ratios = uniform_ratios(layout, self.sparsity, self.least)
        parts: list[Tensor] = []
        for slot in layout.slots:
            count = round(ratios.get(slot.name, 1.0) * slot.size)
            order = scores[slot.start : slot.stop].argsort(descending=True, stable=True)
            parts.append(slot.start + order[:count])
        return FixedMask(torch.cat(parts))

    @override
    def alive(self, dim: int, iteration: int, seed: int) -> Tensor:
        raise InvalidSetting(f"{self!r} knows no start point yet; prepared(structure, x0) returns the mask that does.")
