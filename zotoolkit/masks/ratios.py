"""Keep ratios: which share of each layer's weights a sparse method keeps alive.

Convolution and linear weights are maskable; norm parameters, biases and everything else are always alive. With m
maskable coordinates, sparsity s keeps m - round(s m) of them:

    by scores    those with the largest scores of the whole network, counted layer by layer
    uniformly    the same share of every layer, rounded so that the total is right

Source: Chen et al., DeepZero, ICLR 2024, Algorithm 1; Lee et al., SNIP, ICLR 2019 (global scores).
"""

from __future__ import annotations

import math
import warnings
from numbers import Real

import torch
from torch import Tensor

from zotoolkit.checks import check_count
from zotoolkit.engines.layout import Kind, ParameterLayout, ParameterSlot
from zotoolkit.errors import DeadLayerWarning, InvalidSetting, brief
from zotoolkit.seeding import torch_generator

MASKABLE = (Kind.CONV_WEIGHT, Kind.LINEAR_WEIGHT)
_TIES = 0x71E5


def check_sparsity(sparsity: object) -> float:
    """Return the sparsity as a float.

    Raises:
        InvalidSetting: If it is not a number in [0, 1).
    """
    if isinstance(sparsity, bool) or not isinstance(sparsity, Real) or not 0 <= float(sparsity) < 1:
        raise InvalidSetting(f"sparsity must be a number in [0, 1), got {brief(sparsity)}.")
    return float(sparsity)


def maskable_slots(layout: ParameterLayout) -> list[ParameterSlot]:
    """Return the parameters that a mask may thin out.

    Raises:
        InvalidSetting: If there is none.
    """
    slots = [slot for slot in layout.slots if slot.kind in MASKABLE]
    if not slots:
        raise InvalidSetting(
            f"nothing can be masked: of {len(layout.slots)} parameters none is a convolution or linear weight; "
            "use UniformMask, which masks any coordinate."
        )
    return slots


def kept_count(layout: ParameterLayout, sparsity: float) -> int:
    """Return how many maskable coordinates stay alive: m - round(s m), at least one."""
    maskable = sum(slot.size for slot in maskable_slots(layout))
    return max(1, maskable - round(check_sparsity(sparsity) * maskable))


def score_ratios(scores: Tensor, layout: ParameterLayout, sparsity: float, least: int = 0) -> dict[str, float]:
    """Return each maskable layer's share among the coordinates with the largest scores.

    Args:
        scores: `(d,)`; those of coordinates that are always alive are not looked at. Ties are broken by lot.
        layout: Which coordinates form which parameter.
        sparsity: Share of the maskable coordinates that is not kept, in [0, 1).
        least: How many coordinates every layer keeps at least, if it has so many; the total stays the same as long as
            that is possible. With 0 a layer may lose all of them, which warns.

    Returns:
        Ratio in [0, 1] by the parameter's name; `round(ratio * size)` is the exact count.

    Raises:
        InvalidSetting: If sparsity is out of range, scores are not `(d,)` finite numbers, or nothing is maskable.

    Examples:
        >>> layout = ParameterLayout.of(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)))
        >>> score_ratios(torch.tensor([9.0, 8, 7, 1, 0, 0, 6, 2, 0]), layout, sparsity=1 / 3)
        {'0.weight': 0.75, '1.weight': 0.5}
    """
    slots = maskable_slots(layout)
    check_count(least, "least", least=0)
    kept = kept_count(layout, sparsity)
    if not isinstance(scores, Tensor) or scores.shape != (layout.dim,) or not bool(torch.isfinite(scores).all()):
        raise InvalidSetting(f"scores must be ({layout.dim},) finite numbers, got {brief(scores)}.")
    values = torch.cat([scores[slot.start : slot.stop] for slot in slots]).double().cpu()
    layers = torch.repeat_interleave(torch.tensor([slot.size for slot in slots]))
    lot = torch.randperm(len(values), generator=torch_generator(0, _TIES))
    order = lot[values[lot].argsort(descending=True, stable=True)]
    # Rank within the layer: the first `least` of each layer go before everything else.
    by_layer = order[layers[order].argsort(stable=True)]
    rank = torch.empty_like(by_layer)
    rank[by_layer] = torch.cat([torch.arange(slot.size) for slot in slots])
    reserved = rank[order] < least
    order = torch.cat((order[reserved], order[~reserved]))
    counts = torch.bincount(layers[order[: max(kept, int(reserved.sum()))]], minlength=len(slots))
    return _ratios(slots, counts.tolist())


def uniform_ratios(layout: ParameterLayout, sparsity: float, least: int = 0) -> dict[str, float]:
    """Return the same share of every maskable layer, rounded so that the total is that of `score_ratios`.

    Args:
        layout: Which coordinates form which parameter.
        sparsity: Share of the maskable coordinates that is not kept, in [0, 1).
        least: How many coordinates every layer keeps at least, if it has so many; with 0 a small layer may lose all,
            which warns.

    Examples:
        >>> layout = ParameterLayout.of(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)))
        >>> uniform_ratios(layout, sparsity=0.5)
        {'0.weight': 0.5, '1.weight': 0.5}
    """
    slots = maskable_slots(layout)
    check_count(least, "least", least=0)
    kept = kept_count(layout, sparsity)
    share = kept / sum(slot.size for slot in slots)
    counts = [max(math.floor(share * slot.size + 1e-9), min(least, slot.size)) for slot in slots]
    # Largest remainders first, then whoever has room; what `least` added is taken from those that are furthest above.
    while sum(counts) != kept:
        missing = [share * slot.size - count for slot, count in zip(slots, counts, strict=True)]
        if sum(counts) < kept:
            room = [i for i, slot in enumerate(slots) if counts[i] < slot.size]
            counts[max(room, key=lambda i: missing[i])] += 1
        else:
            above = [i for i, slot in enumerate(slots) if counts[i] > min(least, slot.size)]
            if not above:
                break
            counts[min(above, key=lambda i: missing[i])] -= 1
    return _ratios(slots, counts)


def _ratios(slots: list[ParameterSlot], counts: list[int]) -> dict[str, float]:
    if dead := [slot.name for slot, count in zip(slots, counts, strict=True) if not count]:
        warnings.warn(
            f"no coordinate of {', '.join(dead)} is kept, so it stays as initialised; lower the sparsity, or keep some "
            "of every layer with least=1.",
            DeadLayerWarning,
            stacklevel=3,
        )
    return {slot.name: count / slot.size for slot, count in zip(slots, counts, strict=True)}
