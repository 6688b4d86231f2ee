"""Where each parameter of a module stands in a flat vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter
from typing_extensions import Self

from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidStart, brief

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Kind(str, Enum):
    """What a parameter is for; sparse methods mask convolution and linear weights and leave the rest alive."""

    CONV_WEIGHT = "conv_weight"
    LINEAR_WEIGHT = "linear_weight"
    EMBEDDING = "embedding"
    NORM = "norm"
    """Weight or bias of a normalisation layer."""
    BIAS = "bias"
    OTHER = "other"


@dataclass(frozen=True)
class ParameterSlot:
    """One parameter's place.

    Attributes:
        name: As in `module.named_parameters()`.
        shape: Of the parameter.
        start: First coordinate in the flat vector.
        dtype: Of the parameter in the module.
        kind: What it is for.
        aliases: Other names of the same, tied parameter.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    dtype: torch.dtype
    kind: Kind
    aliases: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return prod(self.shape)

    @property
    def stop(self) -> int:
        """One past the last coordinate."""
        return self.start + self.size


@dataclass(frozen=True)
class ParameterLayout:
    """The trainable parameters of a module, in the order of `named_parameters()`, as one `(d,)` vector.

    Frozen parameters (`requires_grad=False`, and so all integer ones) have no place in the vector and keep the module's
    values. A tied parameter has one place under its first name.

    Attributes:
        slots: The parameters.

    Examples:
        >>> layout = ParameterLayout.of(nn.Linear(3, 2))
        >>> [(slot.name, slot.start, slot.shape) for slot in layout.slots]
        [('weight', 0, (2, 3)), ('bias', 6, (2,))]
        >>> {name: tuple(value.shape) for name, value in layout.unflatten(torch.zeros(5, 8)).items()}
        {'weight': (5, 2, 3), 'bias': (5, 2)}
    """

    slots: tuple[ParameterSlot, ...]

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """Read the layout off a module.

        Raises:
            InvalidSetting: If it is no module, has no trainable parameter, or has one that is complex or not yet
                initialised.
        """
        if not isinstance(module, nn.Module):
            raise InvalidSetting(f"module must be a torch.nn.Module, got {brief(module)}.")
        names: dict[int, list[str]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        slots: list[ParameterSlot] = []
        start = 0
        for name, parameter in module.named_parameters():
            if isinstance(parameter, UninitializedParameter):
                raise InvalidSetting(f"parameter {name!r} is lazy; run the module once on an input first.")
            if not parameter.requires_grad:
                continue
            if not parameter.is_floating_point():
                raise InvalidSetting(
                    f"parameter {name!r} has dtype {parameter.dtype}; only real floating-point parameters can be "
                    "searched: freeze it with requires_grad_(False), or split it into real and imaginary parts."
                )
            slot = ParameterSlot(
                name,
                tuple(parameter.shape),
                start,
                parameter.dtype,
                _kind_of(module, name, parameter),
                tuple(names[id(parameter)][1:]),
            )
            slots.append(slot)
            start = slot.stop
        if not start:
            raise InvalidSetting(
                f"{type(module).__name__} has no trainable parameter; is requires_grad off everywhere?"
            )
        return cls(tuple(slots))

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return self.slots[-1].stop

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the flat vector: float64 if a parameter is, else float32."""
        return torch.float64 if any(slot.dtype == torch.float64 for slot in self.slots) else torch.float32

    def __getitem__(self, name: str) -> ParameterSlot:
        """Return the slot of a parameter, also by the name of a tied one."""
        for slot in self.slots:
            if name == slot.name or name in slot.aliases:
                return slot
        raise InvalidSetting(f"no trainable parameter {name!r}; there is {', '.join(s.name for s in self.slots)}.")

    def slot_of(self, index: Tensor) -> Tensor:
        """Return the `(n,)` int64 positions in `slots` that `(n,)` int64 coordinates fall into."""
        starts = torch.tensor([slot.start for slot in self.slots], device=index.device)
        return torch.searchsorted(starts, index, right=True) - 1

    def coordinates(self, *kinds: Kind | str) -> Tensor:
        """Return the `(k,)` int64 coordinates of all parameters of these kinds, ascending."""
        wanted = {Kind(kind) for kind in kinds}
        ranges = [torch.arange(slot.start, slot.stop) for slot in self.slots if slot.kind in wanted]
        return torch.cat(ranges) if ranges else torch.empty(0, dtype=torch.int64)

    def flatten(self, source: nn.Module | Mapping[str, Tensor]) -> Tensor:
        """Return the `(d,)` vector of a module's parameters, or of tensors by name, as fresh memory.

        Raises:
            InvalidStart: If a parameter is missing or has another shape.
        """
        named = dict(source.named_parameters()) if isinstance(source, nn.Module) else source
        parts: list[Tensor] = []
        for slot in self.slots:
            value = named.get(slot.name)
            if value is None or tuple(value.shape) != slot.shape:
                got = "none" if value is None else f"one of shape {tuple(value.shape)}"
                raise InvalidStart(f"parameter {slot.name!r} must have shape {slot.shape}, got {got}.")
            parts.append(value.detach().reshape(-1).to(self.dtype))
        return torch.cat(parts)

    def unflatten(self, x: Tensor) -> dict[str, Tensor]:
        """Return `(..., *shape)` parameters by name of `(..., d)` vectors: views wherever the dtype is right already.

        Raises:
            InvalidBatch: If the last axis is not d long.
        """
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise InvalidBatch(f"x must end in an axis of d={self.dim}, got {brief(x)}.")
        return {
            slot.name: x[..., slot.start : slot.stop]
            .reshape(*x.shape[:-1], *slot.shape)
            .to(x.dtype if slot.dtype == self.dtype else slot.dtype)
            for slot in self.slots
        }

    def write(self, x: Tensor, module: nn.Module) -> None:
        """Copy a `(d,)` vector into the parameters of a module, for example the trained ones."""
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name, value in self.unflatten(x).items():
                parameters[name].copy_(value)


def _kind_of(module: nn.Module, name: str, parameter: nn.Parameter) -> Kind:
    path, _, leaf = name.rpartition(".")
    if "parametrizations." in name:  # a weight behind a reparametrisation belongs to the layer around it
        path, _, rest = name.partition("parametrizations.")
        path, leaf = path.rstrip("."), rest.partition(".")[0]
    owner = module.get_submodule(path)
    if isinstance(owner, _NORMS):
        return Kind.NORM
    if leaf.endswith("bias"):
        return Kind.BIAS
    if isinstance(owner, _ConvNd):
        return Kind.CONV_WEIGHT
    if isinstance(owner, (nn.Linear, nn.Bilinear, nn.MultiheadAttention)):
        return Kind.LINEAR_WEIGHT
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return Kind.EMBEDDING
    return Kind.OTHER
