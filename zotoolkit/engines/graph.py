"""A network as a list of operations, each with its rule: traced by torch.fx, fused where a rule covers several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from zotoolkit.engines.change import Change
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.engines.operations import Untraceable, function_rule, method_rule, module_rule
from zotoolkit.engines.rules import BatchNorm, Memory, Relu, Rule, Sum, Weights


class Constant(Rule):
    """A tensor that belongs to the network, such as a position embedding.

    Args:
        name: Of the parameter or buffer; None for a plain tensor.
        value: The plain tensor.
        trainable: Whether it can be perturbed.
    """

    keeps_axis = False

    def __init__(self, name: str | None, value: Any, trainable: bool) -> None:
        super().__init__({"value": name} if name is not None and trainable else None, () if name is None else (name,))
        self._name, self._value = name, value

    def forward(self, inputs: tuple[Any, ...], weights: Weights) -> Any:
        """Return the tensor."""
        return weights[self._name] if self._name is not None else self._value

    def begin(self, memory: Memory, role: str, index: Tensor, scale: Tensor) -> Any:
        """Return single entries changed."""
        values = memory.output.new_zeros(len(index), memory.output.numel(), dtype=memory.dtype)
        values.scatter_(1, index[:, None], scale.to(memory.dtype)[:, None])
        return Change(values.view(-1, *memory.output.shape))

    def propagate(self, memory: Memory, changes: Any) -> Any:
        """Never called: a constant has no inputs."""
        return None


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        name: For messages.
        rule: What it does.
        sources: Positions of the steps whose values it takes; -1 - i is the network's input i.
    """

    name: str
    rule: Rule
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A network's operations in an order in which they can run.

    Attributes:
        steps: The operations; None where one was fused into a later one.
        outputs: Positions of the values that the network returns, in its output's structure.
        owners: For each parameter, the steps that use it and the role it plays there.
        users: For each step, the steps that take its value.
    """

    steps: tuple[Step | None, ...]
    outputs: Any
    owners: Mapping[str, tuple[tuple[int, str], ...]]
    users: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module, layout: ParameterLayout) -> Graph:
        """Trace a network.

        Raises:
            Untraceable: If its forward depends on data, draws random numbers or writes into a value.
        """
        try:
            tracer = fx.Tracer()
            traced = tracer.trace(module)
        except Exception as error:  # tracing runs the user's code on stand-ins: anything may come out of it
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Untraceable(f"torch.fx cannot trace {type(module).__name__}: {reason}") from error
        names = {alias: slot.name for slot in layout.slots for alias in (slot.name, *slot.aliases)}
        places: dict[fx.Node, int] = {}
        steps: list[Step | None] = []
        arguments = 0
        outputs: Any = None
        for node in traced.nodes:
            if node.op == "placeholder":
                arguments += 1
                places[node] = -arguments
            elif node.op == "output":
                outputs = map_arg(node.args[0], lambda n: places[n])
            else:
                sources = tuple(places[source] for source in node.all_input_nodes)
                places[node] = len(steps)
                steps.append(Step(node.name, _rule(node, module, tracer, names), sources))
        return _assembled(_fused(steps, outputs), outputs)

    def disposable(self, position: int) -> bool:
        """Return whether a step alone reads its first input's change, in memory of its own."""
        step = self.steps[position]
        source = step.sources[0] if step is not None and step.sources else -1
        before = self.steps[source] if source >= 0 else None
        if before is None or source in pytree.tree_leaves(self.outputs):
            return False
        return before.rule.makes_memory and self.users[source] == (position,)

    def following(self, position: int) -> tuple[int, ...]:
        """Return the steps that depend on a step, in order."""
        reached = {position}
        for at in range(position + 1, len(self.steps)):
            step = self.steps[at]
            if step is not None and reached.intersection(step.sources):
                reached.add(at)
        return tuple(sorted(reached - {position}))


def _rule(node: fx.Node, module: nn.Module, tracer: fx.Tracer, names: Mapping[str, str]) -> Rule:
    """Return the rule of a traced node.

    Raises:
        Untraceable: If there can be none.
    """
    if node.op == "get_attr":
        target = str(node.target)
        value = _attribute(tracer.root, target)
        owned = target in dict(module.named_parameters(remove_duplicate=False)) or target in dict(
            module.named_buffers()
        )
        return Constant(names.get(target, target) if owned else None, value, target in names)
    if node.op == "call_module":
        part = module.get_submodule(str(node.target))
        return module_rule(node, part, str(node.target), names)
    if node.op == "call_function":
        return function_rule(node)
    return method_rule(node)


def _attribute(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


def _fused(steps: list[Step | None], outputs: Any) -> list[Step | None]:
    """Join batch norms with the ReLU, or the addition and the ReLU, behind them."""
    users = _users(steps)
    kept = set(pytree.tree_leaves(outputs))

    def only_user(position: int) -> int | None:
        return users[position][0] if len(users[position]) == 1 and position not in kept else None

    for position, step in enumerate(steps):
        if step is None or not isinstance(step.rule, BatchNorm) or step.rule.relu:
            continue
        follower = only_user(position)
        behind = None if follower is None else steps[follower]
        if follower is None or behind is None:
            continue
        sources, last, addition = step.sources, follower, False
        if isinstance(behind.rule, Sum) and behind.rule.sign > 0 and behind.sources.count(position) == 1:
            final = only_user(follower)
            other = [source for source in behind.sources if source != position]
            if final is None or len(other) != 1:
                continue
            sources, last, addition = (*step.sources, *other), final, True
        closing = steps[last]
        if closing is None or not isinstance(closing.rule, Relu) or closing.rule.slope:
            continue
        steps[last] = replace(closing, rule=step.rule.fused(addition=addition), sources=sources)
        steps[position] = None
        if addition:
            steps[follower] = None
        users = _users(steps)
    return steps


def _users(steps: list[Step | None]) -> list[list[int]]:
    users: list[list[int]] = [[] for _ in steps]
    for position, step in enumerate(steps):
        for source in () if step is None else set(step.sources):
            if source >= 0:
                users[source].append(position)
    return users


def _assembled(steps: list[Step | None], outputs: Any) -> Graph:
    owners: dict[str, list[tuple[int, str]]] = {}
    for position, step in enumerate(steps):
        for role, name in {} if step is None else step.rule.parameters.items():
            owners.setdefault(name, []).append((position, role))
    return Graph(
        tuple(steps),
        outputs,
        {name: tuple(places) for name, places in owners.items()},
        tuple(tuple(each) for each in _users(steps)),
    )


def state_of(module: nn.Module, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return all parameters and buffers of a module by name, the given ones in place of its own."""
    own = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    return {name: value.detach() for name, value in own.items()} | dict(parameters)
