"""Normalisations in closed form, alone or fused with the ReLU, or the addition and ReLU, behind them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from typing_extensions import override

from zotoolkit.engines.change import Change, rows
from zotoolkit.engines.kernels import relu_change, wide
from zotoolkit.engines.rules.base import Memory, Rule, Weights


class BatchNorm(Rule):
    """A batch normalisation over all axes but the channels', by the mini-batch's statistics or by running ones.

    Args:
        module: The layer.
        names: Of "weight" and "bias" in the network, and of "mean" and "variance" where running statistics are used.
        parameters: Those that can be perturbed, by role.
        relu: Whether a ReLU follows.
        addition: Whether a second input is added before it.
    """

    begins_narrow = True

    def __init__(
        self,
        module: _NormBase,
        names: Mapping[str, str],
        parameters: Mapping[str, str],
        *,
        relu: bool = False,
        addition: bool = False,
    ) -> None:
        super().__init__(parameters, tuple(names.values()))
        self.relu, self.addition = relu, addition
        self._names = dict(names)
        self._epsilon = module.eps
        self._by_batch = "mean" not in names

    def fused(self, *, addition: bool) -> BatchNorm:
        """Return this layer with an addition, where asked for, and a ReLU behind it."""
        twin = copy.copy(self)
        twin.relu, twin.addition = True, addition
        return twin

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        value = self._normalised(inputs[0], weights)
        if self.addition:
            value = value + inputs[1]
        return functional.relu(value) if self.relu else value

    def _normalised(self, source: Tensor, weights: Weights) -> Tensor:
        weight, bias, mean, variance = (
            weights[self._names[role]] if role in self._names else None
            for role in ("weight", "bias", "mean", "variance")
        )
        return functional.batch_norm(source, mean, variance, weight, bias, self._by_batch, eps=self._epsilon)

    @override
    def begin(self, memory: Memory, role: str, index: Tensor, scale: Tensor) -> Change | None:
        source = memory.inputs[0]
        shape = (len(index), source.shape[0], 1, *source.shape[2:])
        factor = scale.view(-1, *(1,) * source.ndim)
        if role == "bias":
            values = factor.expand(shape)
        else:
            normed = self._normed_by_channel(memory, self._facts(memory))[index]
            values = normed.view(shape[0], shape[1], *shape[3:]).unsqueeze(2) * factor
        return self._behind(memory, Change(values, 1, index), None)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change | None:
        change, other = changes[0], changes[1] if self.addition else None
        if change is None:
            return self._behind(memory, None, other)
        facts = self._facts(memory)
        one_channel = change.axis == 1
        if other is not None and one_channel and not _aligned(change, other):
            change, one_channel = Change(change.dense(memory.inputs[0].shape, memory.dtype)), False
        if one_channel:
            return self._behind(memory, self._one_channel(memory, facts, change), other)
        source = memory.inputs[0]
        moved = rows(change.dense(source.shape, memory.dtype), 2)
        kernels, reuse = memory.kernels, memory.disposable
        if self._by_batch:
            coefficients = kernels.norm_coefficients(moved, facts["normed"], facts["gain"], facts["variance"])
        else:
            slope = (facts["gain"] / torch.sqrt(facts["variance"])).expand(len(moved), -1)
            coefficients = torch.stack((slope, torch.zeros_like(slope), torch.zeros_like(slope)))
        if not self.relu:
            out = kernels.norm_apply(moved, facts["normed"], coefficients, reuse=reuse)
        elif other is None:
            out = kernels.norm_relu(moved, facts["normed"], coefficients, facts["before_relu"], reuse=reuse)
        elif other.axis == 1 and other.index is not None:
            column = other.values.reshape(len(other), -1, 1).to(facts["gain"].dtype)
            base = facts["before_relu"]
            out = kernels.norm_add_narrow_relu(
                moved, facts["normed"], coefficients, base, column, other.index, reuse=reuse
            )
        else:
            beside = rows(other.dense(source.shape, memory.dtype), 2)
            base = facts["before_relu"]
            out = kernels.norm_add_relu(moved, facts["normed"], coefficients, base, beside, reuse=reuse)
        return Change(out.view(len(change), source.shape[0], *source.shape[2:], source.shape[1]).movedim(-1, 2))

    def _one_channel(self, memory: Memory, facts: dict[str, Tensor], change: Change) -> Change:
        """Normalise changes along one channel: `(P, M)` sums."""
        values, index = change.values, change.index
        gain, variance = facts["gain"][index], facts["variance"][index]
        flat = values.reshape(len(change), -1).to(gain.dtype)
        if not self._by_batch:
            out = flat * (gain / torch.sqrt(variance))[:, None]
            return Change(out.view(values.shape), 1, index)
        normed = self._normed_by_channel(memory, facts)[index]
        count = flat.shape[1]
        mean = flat.sum(1) / count
        growth = 2 * torch.sqrt(variance) * ((flat * normed).sum(1) / count) + (flat * flat).sum(1) / count - mean**2
        sigma, sigma_new = torch.sqrt(variance), torch.sqrt(variance + growth)
        a, b = gain / sigma_new, -gain * growth / (sigma_new * (sigma_new + sigma))
        out = flat * a[:, None] + normed * b[:, None] - (a * mean)[:, None]
        return Change(out.view(values.shape), 1, index)

    def _normed_by_channel(self, memory: Memory, facts: dict[str, Tensor]) -> Tensor:
        """Return x_hat as `(C, M)`."""
        return memory.once("normed by channel", lambda: wide(facts["normed"]).t().contiguous())

    def _behind(self, memory: Memory, change: Change | None, other: Change | None) -> Change | None:
        """Add what comes beside, and pass the ReLU, along one channel or densely."""
        if change is None or other is None:
            change = change if other is None else other
        elif _aligned(change, other):
            change = Change(change.values + other.values, 1, change.index)
        else:
            shape = memory.output.shape
            change = Change(change.dense(shape, memory.dtype) + other.dense(shape, memory.dtype))
        if change is None or not self.relu:
            return change
        base = memory.once("image_before_relu", lambda: self._before_relu(memory))
        return Change(relu_change(change.values, memory.at("before relu", base, change)), change.axis, change.index)

    def _before_relu(self, memory: Memory) -> Tensor:
        value = self._normalised(memory.inputs[0], memory.weights)
        return value + memory.inputs[1] if self.addition else value

    def _facts(self, memory: Memory) -> dict[str, Tensor]:
        return memory.once("facts", lambda: self._gather(memory))

    def _gather(self, memory: Memory) -> dict[str, Tensor]:
        source = memory.inputs[0]
        flat = rows(source[None], 2)[0]  # (M, C)
        if self._by_batch:
            variance, mean = torch.var_mean(flat, 0, correction=0)
        else:
            mean, variance = memory.weights[self._names["mean"]], memory.weights[self._names["variance"]]
        variance = variance + self._epsilon
        gain = memory.weights[self._names["weight"]] if "weight" in self._names else torch.ones_like(mean)
        # In the differences' own precision: rounding keeps signs, and these are read more often than anything else.
        normed = ((flat - mean) / torch.sqrt(variance)).to(memory.dtype)
        facts = {"normed": normed, "gain": gain, "variance": variance}
        if self.relu:
            base = memory.once("image_before_relu", lambda: self._before_relu(memory))
            facts["before_relu"] = rows(base[None], 2)[0].to(memory.dtype).contiguous()
        return facts


class LayerNorm(Rule):
    """A normalisation of each sample over its last axes.

    Args:
        module: The layer.
        names: Of "weight" and "bias", where there are some.
        parameters: Those that can be perturbed, by role.
    """

    keeps_axis = False
    begins_narrow = True

    def __init__(self, module: nn.LayerNorm, names: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        super().__init__(parameters, tuple(names.values()))
        self._names = dict(names)
        self._shape = tuple(module.normalized_shape)
        self._epsilon = module.eps

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Tensor:
        weight, bias = (weights[self._names[r]] if r in self._names else None for r in ("weight", "bias"))
        return functional.layer_norm(inputs[0], self._shape, weight, bias, self._epsilon)

    @override
    def begin(self, memory: Memory, role: str, index: Tensor, scale: Tensor) -> Change | None:
        if len(self._shape) > 1:
            return None
        shape = memory.output.shape
        factor = scale.view(-1, *(1,) * len(shape))
        if role == "bias":
            return Change(factor.expand(len(index), *shape[:-1], 1), len(shape) - 1, index)
        normed = self._facts(memory)["normed"].view(shape)
        return Change(normed.index_select(-1, index).movedim(-1, 0)[..., None] * factor, len(shape) - 1, index)

    @override
    def propagate(self, memory: Memory, changes: Sequence[Any]) -> Change:
        (change,) = changes
        source, facts = memory.inputs[0], self._facts(memory)
        size = prod(self._shape)
        moved = change.dense(source.shape, memory.dtype).reshape(-1, source.numel() // size, size)
        wide = moved.to(torch.promote_types(moved.dtype, torch.float32))
        sigma = facts["sigma"]
        mean = wide.mean(-1, keepdim=True)
        growth = 2 * sigma * (wide * facts["normed"]).mean(-1, keepdim=True) + wide.var(-1, correction=0, keepdim=True)
        sigma_new = torch.sqrt(sigma**2 + growth)
        out = (wide - mean) / sigma_new - facts["normed"] * (growth / (sigma_new * (sigma_new + sigma)))
        if "weight" in self._names:
            out = out * memory.weights[self._names["weight"]].reshape(-1)
        return Change(out.to(moved.dtype).view(len(change), *source.shape))

    def _facts(self, memory: Memory) -> dict[str, Tensor]:
        return memory.once("facts", lambda: self._gather(memory.inputs[0]))

    def _gather(self, source: Tensor) -> dict[str, Tensor]:
        flat = source.reshape(-1, prod(self._shape))
        variance, mean = torch.var_mean(flat, -1, correction=0, keepdim=True)
        sigma = torch.sqrt(variance + self._epsilon)
        return {"normed": (flat - mean) / sigma, "sigma": sigma}


def _aligned(change: Change, other: Change) -> bool:
    """Return whether both change the same channel, candidate by candidate."""
    if change.axis != 1 or other.axis != 1 or change.index is None or other.index is None:
        return False
    return bool(torch.equal(change.index, other.index))
