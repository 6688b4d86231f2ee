"""How many states go through a network together: as many as a CPU's cache holds with what the layers make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from zotoolkit.errors import InvalidState, brief

# With 278 parameters at 64 x 32, 16 to 128 states took 51 to 68 us each and 556 took 133: their memory is then new in
# every pass. Below 16 states torch takes a convolution kernel that is five times slower.
_CHUNK_BYTES_CPU = 2 << 20
_CHUNK_BYTES_GPU = 1 << 30
_LEAST_STATES = 16

_measured: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def states_that_fit(module: nn.Module, inputs: Tensor, run: Callable[[Tensor], object]) -> int:
    """Return how many states of `(P, W, *I)` inputs to run together.

    Args:
        module: The network, whose layers are measured once for each shape of a state.
        inputs: The states.
        run: Runs the module on `(1, *I)`.
    """
    known = _measured.setdefault(module, {})
    shape = tuple(inputs.shape[2:])
    if shape not in known:
        known[shape] = max(1, _layer_bytes(module, lambda: run(inputs[:1, 0])))
    return max(_LEAST_STATES, (_CHUNK_BYTES_GPU if inputs.is_cuda else _CHUNK_BYTES_CPU) // known[shape])


def check_rows(output: object, inputs: Tensor) -> Tensor:
    """Return a network's output if it has a row for each of the `(P, W, *I)` states.

    Raises:
        InvalidState: Otherwise.
    """
    states = inputs.shape[0] * inputs.shape[1]
    if not isinstance(output, Tensor) or not output.ndim or len(output) != states:
        raise InvalidState(
            f"the network must return one tensor with a row for each of {states} states, got {brief(output)}."
        )
    return output


def _layer_bytes(module: nn.Module, run: Callable[[], object]) -> int:
    """Return the most that one layer reads and writes while `run` runs the module once."""
    most = 0

    def look(_: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        nonlocal most
        tensors = [value for value in (*given, output) if isinstance(value, Tensor)]
        most = max(most, sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    leaves = [part for part in module.modules() if not any(part.children())]
    handles = [leaf.register_forward_hook(look) for leaf in leaves]
    handles.append(module.register_forward_hook(look))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return most
