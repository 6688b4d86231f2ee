"""Which rule an operation of a traced network gets: by module type, function or method."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.node import map_arg
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from typing_extensions import override

from zotoolkit.engines.rules import (
    BatchNorm,
    ChannelPad,
    Convolution,
    Folded,
    Generic,
    Identity,
    Item,
    LayerNorm,
    Linear,
    MaxPool,
    Memory,
    Moving,
    Pointwise,
    PositionMean,
    Product,
    Relu,
    Rule,
    Scaling,
    Sum,
)

_POINTWISE_MODULES = (
    *(nn.GELU, nn.SiLU, nn.ELU, nn.SELU, nn.CELU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Mish),
    *(nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanhshrink, nn.Threshold),
)
_POINTWISE = {
    *("tanh", "sigmoid", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "abs", "sin", "cos", "square", "neg"),
    *("gelu", "silu", "elu", "selu", "celu", "softplus", "softsign", "mish", "hardtanh", "relu6", "hardswish"),
    *("hardsigmoid", "logsigmoid", "clamp", "clip", "clamp_min", "clamp_max", "erf", "pow", "reciprocal"),
}
_MOVING = {
    *("flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "unflatten", "movedim", "t"),
    *("cat", "concat", "stack", "chunk", "split", "unbind", "narrow", "roll", "flip", "expand", "repeat", "select"),
    *("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "pixel_shuffle", "unfold"),
}
_POOLS = {"avg_pool1d", "avg_pool2d", "avg_pool3d"}
_POOLS |= {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"}
_POOL_MODULES = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
_SAME = {"contiguous", "clone", "detach"}
_SHAPES = {"size", "dim", "ndimension", "numel", "stride", "is_floating_point"}
_SUMS = {"add": 1, "sub": -1}
_PRODUCTS = {"mul", "multiply"}
_MATRIX_PRODUCTS = {"matmul", "bmm", "mm"}
_QUOTIENTS = {"truediv", "div", "divide"}
_WRITING_OPERATORS = {"i" + o: getattr(operator, o) for o in ("add", "sub", "mul", "truediv", "matmul", "pow")}
_RANDOM = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu"}
_DRAWS = {"rand", "randn", "rand_like", "randn_like", "bernoulli", "randint", "multinomial", "normal", "poisson"}


class Untraceable(Exception):
    """The network cannot be written as a list of operations; the message says why, for the log."""


class Fact(Identity):
    """What depends on shapes and types alone, and so never changes."""

    def __init__(self, call: Callable[[tuple[Any, ...]], Any]) -> None:
        super().__init__()
        self._call = call

    @override
    def forward(self, inputs: tuple[Any, ...], weights: Any) -> Any:
        return self._call(inputs)

    @override
    def propagate(self, memory: Memory, changes: Any) -> None:
        return None


def module_rule(node: fx.Node, part: nn.Module, path: str, names: Mapping[str, str]) -> Rule:
    """Return the rule of a layer.

    Args:
        node: Where it is called.
        part: The layer.
        path: Its place in the network.
        names: Of all parameters that can be perturbed, by every name that they have.
    """
    own = {name: f"{path}.{name}" for name, _ in (*part.named_parameters(), *part.named_buffers())}
    named = {role: names.get(name, name) for role, name in own.items()}
    free = {role: named[role] for role in named if own[role] in names}
    plain = len(node.args) == 1 and not node.kwargs
    if plain and isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and part.padding_mode == "zeros":
        return Convolution(part, named, free)
    if plain and type(part) is nn.Linear:
        return Linear(part, named, free)
    if plain and isinstance(part, _BatchNorm):
        keys = {role: named[role] for role in ("weight", "bias") if role in named}
        if not part.training and part.running_mean is not None:
            keys |= {"mean": named["running_mean"], "variance": named["running_var"]}
        return BatchNorm(part, keys, free)
    if plain and type(part) is nn.LayerNorm:
        return LayerNorm(part, named, free)
    if plain and not free and (rule := _plain_layer(part)) is not None:
        return rule
    _refuse_random(part)

    def call(weights: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Any:
        args, kwargs = _filled(node, inputs)
        state = {role: weights[name] for role, name in named.items()}
        return functional_call(part, state, args, kwargs)

    return Generic(call, free, used=tuple(named.values()))


def _plain_layer(part: nn.Module) -> Rule | None:
    """Return the rule of a layer without parameters."""
    if isinstance(part, nn.ReLU):
        return Relu()
    if isinstance(part, nn.LeakyReLU) and 0 <= part.negative_slope <= 1:
        return Relu(part.negative_slope)
    if isinstance(part, nn.Identity) or (isinstance(part, _DropoutNd) and not (part.training and part.p > 0)):
        return Identity()
    if isinstance(part, _POINTWISE_MODULES):
        return Pointwise(_not_in_place(part))
    if isinstance(part, nn.MaxPool2d) and not part.return_indices:
        return MaxPool(part, _tiling(part.kernel_size, part.stride, part.padding, part.dilation))
    if isinstance(part, nn.AdaptiveAvgPool2d) and part.output_size in (1, (1, 1)):
        return PositionMean(part)
    if isinstance(part, _POOL_MODULES):
        return Folded(part, by_channel=True)
    if isinstance(part, nn.Flatten) and part.start_dim == 1 and part.end_dim == -1:
        return Folded(part, by_channel=True)
    return None


def function_rule(node: fx.Node) -> Rule:
    """Return the rule of a call of a function."""
    target = node.target
    name = str(getattr(target, "__name__", target))
    if name in _WRITING_OPERATORS:  # x += y is x = x + y to a trace
        name, target = name[1:], _WRITING_OPERATORS[name]
    elif name == "setitem" or name.endswith("_"):
        name, target = _without_writing(node, name, target)
    if target is getattr:
        return Fact(lambda inputs: getattr(inputs[0], str(node.args[1])))
    return _rule(node, name, target)


def method_rule(node: fx.Node) -> Rule:
    """Return the rule of a call of a tensor's method."""
    name = str(node.target)
    if name.endswith("_") and not name.endswith("__"):
        name, _ = _without_writing(node, name, None)

    def call(value: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(value, name)(*args, **kwargs)

    return _rule(node, name, call)


def _rule(node: fx.Node, name: str, target: Any) -> Rule:
    """Return the rule of an operation by its name; the generic one where no other fits."""
    sources = node.all_input_nodes
    first = bool(node.args) and isinstance(node.args[0], fx.Node)
    alone = first and len(sources) == 1  # one value; everything else is a constant

    def evaluated(inputs: tuple[Any, ...]) -> Any:
        args, kwargs = _filled(node, inputs)
        return target(*args, **kwargs)

    def single(value: Any) -> Any:
        return evaluated((value,))

    if name in _DRAWS or (name in _RANDOM and _draws(node)):
        raise Untraceable(f"it draws random numbers ({name}).")
    if name == "relu" and alone:
        return Relu()
    if name in _SAME or name in _RANDOM:
        return Identity()
    if name in _SHAPES:
        return Fact(evaluated)
    if name == "leaky_relu" and alone and 0 <= (slope := _second(node, "negative_slope", 0.01)) <= 1:
        return Relu(slope)
    if name in _POINTWISE and alone:
        return Pointwise(single)
    if rule := _arithmetic(node, name, single if alone else None):
        return rule
    if name in _MATRIX_PRODUCTS and len(sources) == 2 and len(node.args) == 2 and not node.kwargs:
        return Product(torch.matmul)
    if name == "max_pool2d" and alone and not _returns_indices(node):
        return MaxPool(single, _functional_window(node))
    if name == "pad" and alone and (pads := _zero_pads(node)) is not None:
        return ChannelPad(pads)
    if name == "getitem" and first:
        return _item(node, evaluated, single)
    if name in _MOVING:
        if alone and _is_position_mean(node, name):
            return PositionMean(single)
        if alone and _is_folded(node, name):
            return Folded(single, by_channel=True)
        return Moving(evaluated)
    return Generic(lambda weights, inputs: evaluated(inputs))


def _arithmetic(node: fx.Node, name: str, single: Callable[[Any], Any] | None) -> Rule | None:
    known = name in _SUMS or name in _PRODUCTS or name in _QUOTIENTS
    if not known or len(node.args) != 2 or node.kwargs:
        return None
    left, right = node.args
    if single is not None:  # a number on one side
        if isinstance(left, fx.Node) and isinstance(right, fx.Node):  # x + x, x * x
            return Pointwise(single)
        number = right if isinstance(left, fx.Node) else left
        if not isinstance(number, (int, float)):
            return None
        if name in _SUMS:
            return Scaling(single, float(_SUMS[name]) if number is left else 1.0)
        if name in _PRODUCTS:
            return Scaling(single, float(number))
        return Scaling(single, 1.0 / number) if number is right else None
    if not (isinstance(left, fx.Node) and isinstance(right, fx.Node)):
        return None
    if name in _SUMS:
        return Sum(_SUMS[name])
    return Product(torch.mul) if name in _PRODUCTS else None


def _item(node: fx.Node, evaluated: Callable[..., Any], single: Callable[[Any], Any]) -> Rule:
    """Return the rule of value[key]: a slice of a tensor, an entry of a tuple, or an entry of a shape."""
    key = node.args[1]
    source = node.args[0]
    if isinstance(key, int) and isinstance(source, fx.Node) and _is_shape(source):
        return Fact(evaluated)
    if isinstance(key, int):
        return Item(evaluated, key)
    full = slice(None)
    if isinstance(key, tuple) and all(isinstance(part, slice) for part in key) and key[0] == full and len(key) > 1:
        return Folded(single, by_channel=key[1] == full)
    return Moving(evaluated)


def _is_shape(node: fx.Node) -> bool:
    return str(node.target) in ("size", "shape") or (node.target is getattr and node.args[1] == "shape")


def _is_position_mean(node: fx.Node, name: str) -> bool:
    if name == "adaptive_avg_pool2d":
        return len(node.args) == 2 and node.args[1] in (1, (1, 1), [1, 1])
    if name != "mean" or not _is_folded(node, name):
        return False
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
    return isinstance(dims, (tuple, list)) and sorted(map(str, dims)) == ["2", "3"]


def _is_folded(node: fx.Node, name: str) -> bool:
    """Return whether an operation on `(B, C, ...)` treats rows and channels one by one."""
    if name in _POOLS:
        return True
    if name == "flatten":
        return (tuple(node.args[1:]) in ((1,), (1, -1)) and not node.kwargs) or dict(node.kwargs) == {"start_dim": 1}
    if name in ("mean", "sum"):
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
        dims = (dims,) if isinstance(dims, int) else dims
        extra = set(node.kwargs) - {"dim", "axis", "keepdim"}
        return isinstance(dims, (tuple, list)) and all(isinstance(d, int) and d >= 2 for d in dims) and not extra
    return False


def _pool_settings(node: fx.Node) -> dict[str, Any]:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    return dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)


def _returns_indices(node: fx.Node) -> bool:
    return bool(_pool_settings(node).get("return_indices"))


def _functional_window(node: fx.Node) -> tuple[int, int] | None:
    """Return the window of F.max_pool2d, None if windows overlap."""
    given = _pool_settings(node)
    if given.get("ceil_mode"):
        return None
    size = given["kernel_size"]
    return _tiling(size, given.get("stride") or size, given.get("padding", 0), given.get("dilation", 1))


def _tiling(size: Any, stride: Any, padding: Any, dilation: Any) -> tuple[int, int] | None:
    window, step, pad, spread = (
        v if isinstance(v, (tuple, list)) else (v, v) for v in (size, stride, padding, dilation)
    )
    tiles = tuple(window) == tuple(step) and not any(pad) and set(spread) == {1}
    return (window[0], window[1]) if tiles else None


def _zero_pads(node: fx.Node) -> list[int] | None:
    names = ("pad", "mode", "value")
    given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    pads = given.get("pad")
    constant = given.get("mode", "constant") == "constant" and not given.get("value")
    if not constant or not isinstance(pads, (tuple, list)) or not all(isinstance(p, int) for p in pads):
        return None
    return [int(p) for p in pads]  # type: ignore[arg-type]


def _filled(node: fx.Node, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the node's arguments with values in place of the nodes; nothing is written in place."""
    values = dict(zip(node.all_input_nodes, inputs, strict=True))
    args: Any = map_arg(node.args, lambda n: values[n])
    kwargs: Any = map_arg({k: v for k, v in node.kwargs.items() if k != "inplace"}, lambda n: values[n])
    return tuple(args), dict(kwargs)


def _draws(node: fx.Node) -> bool:
    """Return whether a functional dropout is switched on."""
    training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
    share = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
    return bool(training) and not (isinstance(share, (int, float)) and share == 0)


def _refuse_random(part: nn.Module) -> None:
    for inner in part.modules():
        if isinstance(inner, (_DropoutNd, nn.RReLU)) and inner.training and getattr(inner, "p", 1) != 0:
            raise Untraceable(f"it draws random numbers ({type(inner).__name__} while training).")


def _without_writing(node: fx.Node, name: str, target: Any) -> tuple[str, Any]:
    """Return the operation that writes nothing and does the same to a value that nobody else takes.

    Raises:
        Untraceable: If somebody does, or there is no such operation.
    """
    plain = name.rstrip("_")
    written = node.args[0] if node.args else None
    twin = getattr(torch, plain, None) or getattr(torch.nn.functional, plain, None)
    if name == "setitem" or not node.users or not isinstance(written, fx.Node) or len(written.users) > 1 or not twin:
        raise Untraceable(f"it writes into a value ({name}).")
    return plain, target if target is None else twin


def _not_in_place(part: nn.Module) -> nn.Module:
    if getattr(part, "inplace", False):
        part.inplace = False  # type: ignore[assignment]
    return part


def _second(node: fx.Node, name: str, default: float) -> float:
    value: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get(name, default)
    return float(value)
