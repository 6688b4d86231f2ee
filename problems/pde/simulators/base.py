"""The interface of everything that steps states of a PDE on, any number of them at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import final

import torch
from torch import Tensor
from typing_extensions import Self

from zotoolkit.checks import check_count, check_least
from zotoolkit.dispatch import untouched
from zotoolkit.errors import InvalidSetting, InvalidState, brief

_DTYPES = (torch.float32, torch.float64)


class Simulator(ABC):
    """A time step that can be asked for, of `B` states at once, each with parameters of its own.

    A subclass calls `super().__init__` and writes `advance`. The rest stands in `step`: checks, rows that are not
    finite, batches larger than `max_batch`, and counting.

    Args:
        fields: `*F`, the shape of one state, such as `(48,)` or `(2, 65, 33)`.
        parameters: Names of the k columns of `params`, such as `("reynolds",)`.
        max_batch: States that `advance` takes at once at most; None for any number.
        deterministic: Whether the same state and parameters always give the same next state.
        differentiable: Whether autograd goes through `advance`.
        tol: Relative accuracy of one step beyond the rounding of its dtype: what an iteration stops at, or the
            precision that it computes in; 0 where only rounding counts. See `accuracy`.

    Attributes:
        state_steps: States advanced so far, each step of each row counted once; may be set back to 0.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Examples:
        >>> class Decay(Simulator):
        ...     def __init__(self):
        ...         super().__init__((4,), ("rate",), differentiable=True)
        ...     def advance(self, state, params):
        ...         return state * torch.exp(-params)
        >>> decay = Decay()
        >>> decay.step(torch.ones(3, 4), torch.tensor([[0.0], [1.0], [2.0]]))[:, 0]
        tensor([1.0000, 0.3679, 0.1353])
        >>> decay.state_steps
        3
    """

    def __init__(
        self,
        fields: Sequence[int],
        parameters: Sequence[str] = (),
        *,
        max_batch: int | None = None,
        deterministic: bool = True,
        differentiable: bool = False,
        tol: float = 0.0,
    ) -> None:
        self.fields = _check_fields(fields)
        self.parameters = _check_names(parameters)
        self.max_batch = None if max_batch is None else check_count(max_batch, "max_batch")
        self.deterministic = bool(deterministic)
        self.differentiable = bool(differentiable)
        self.tol = check_least(tol, 0, "tol")
        self.state_steps = 0

    # What a subclass writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        """Return the states one step later, `(B, *F)`, in memory of their own.

        Must not write into its input, and no row may depend on another. A row that cannot be advanced becomes NaN; an
        exception fails all rows of the call.

        Args:
            state: `(B, *F)`, finite, float32 or float64, 1 <= B <= `max_batch`.
            params: `(B, k)`, finite, of the same dtype and device.
        """

    def check_params(self, params: Tensor) -> None:
        """Raise InvalidState if finite `(B, k)` parameters have no meaning, such as a viscosity below 0."""

    # What a caller uses ---------------------------------------------------------------------------------------------

    @final
    def step(self, state: Tensor, params: Tensor | None = None) -> Tensor:
        """Advance states by one step.

        A row that is not finite, in its state or its parameters, comes out as NaN: it is kept from the simulator, costs
        no state-step and changes no other row. The input is left as it is.

        Args:
            state: `(B, *F)` float32 or float64, on any device.
            params: `(B, k)`, of the same dtype and device; may be None for a simulator without parameters.

        Returns:
            `(B, *F)` of the same dtype and device.

        Raises:
            InvalidState: If the input does not fit the simulator, its parameters have no meaning, it requires a
                gradient that the simulator cannot give, or the simulator answers with another shape, dtype or device.
            InputMutated: If the simulator writes into its input.
        """
        params = self.check_inputs(state, params)
        if torch.is_grad_enabled() and not self.differentiable and (state.requires_grad or params.requires_grad):
            raise InvalidState(
                f"{self._name} has no gradient and its input requires one; pass state.detach(), or put the simulator "
                "into a zotoolkit.nn.BlackBoxFunction, which estimates a gradient from queries."
            )
        # A sum of finite numbers is seldom more than its dtype holds; then the rows below are looked at all the same.
        if math.isfinite(state.detach().sum() + params.detach().sum()):
            return self._advance_in_chunks(state, params)
        finite = torch.isfinite(state.detach().flatten(1)).all(1) & torch.isfinite(params.detach()).all(1)
        rows = finite.nonzero().flatten()
        if len(rows) == len(state):
            return self._advance_in_chunks(state, params)
        advanced = self._advance_in_chunks(state[rows], params[rows])
        return torch.full_like(state, torch.nan).index_copy(0, rows, advanced)

    def accuracy(self, dtype: torch.dtype) -> float:
        """Return the relative accuracy of one step on states of a dtype: `tol` or the dtype's rounding.

        Finite differences of what the simulator returns see steps below it as noise.
        """
        return max(self.tol, torch.finfo(dtype).eps)

    def close(self) -> None:
        """Free what the simulator holds open, such as processes or folders."""

    def check_inputs(self, state: object, params: object) -> Tensor:
        """Return the `(B, k)` parameters that belong to `(B, *F)` states: those given, or none for None.

        Raises:
            InvalidState: If shape, dtype or device do not fit the simulator.
        """
        wanted = f"(B, {', '.join(map(str, self.fields))})"
        if not isinstance(state, Tensor) or state.dtype not in _DTYPES or state.shape[1:] != self.fields:
            raise InvalidState(f"{self._name} takes {wanted} states of float32 or float64, got {brief(state)}.")
        count, columns = len(state), len(self.parameters)
        if params is None and not columns:
            return state.new_empty(count, 0)
        if not isinstance(params, Tensor) or params.shape != (count, columns) or params.dtype != state.dtype:
            names = f" ({', '.join(self.parameters)})" if columns else ""
            raise InvalidState(
                f"{self._name} takes params of shape ({count}, {columns}){names} and the states' dtype {state.dtype}, "
                f"got {brief(params)}."
            )
        if params.device != state.device:
            raise InvalidState(f"states are on {state.device} and params on {params.device}; put both on one device.")
        return params

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        parameters = ", ".join(self.parameters) or "no parameters"
        return f"<{self._name}: states {self.fields}, {parameters}>"

    # Within ---------------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _advance_in_chunks(self, state: Tensor, params: Tensor) -> Tensor:
        if not len(state):
            return state.clone()
        self.check_params(params.detach())
        size = len(state) if self.max_batch is None else self.max_batch
        parts: list[Tensor] = []
        for part_state, part_params in zip(state.split(size), params.split(size), strict=True):
            parts.append(self._advance_checked(part_state, part_params))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _advance_checked(self, state: Tensor, params: Tensor) -> Tensor:
        with (
            untouched(state, f"{self._name} wrote into the states"),
            untouched(params, f"{self._name} wrote into params"),
            torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable),
        ):
            after = self.advance(state, params)
        if not isinstance(after, Tensor) or after.shape != state.shape or after.dtype != state.dtype:
            raise InvalidState(
                f"{self._name} must return {tuple(state.shape)} states of {state.dtype}, got {brief(after)}."
            )
        if after.device != state.device:
            raise InvalidState(f"{self._name} got states on {state.device} and returned some on {after.device}.")
        self.state_steps += len(state)
        shared = after.untyped_storage().data_ptr() == state.untyped_storage().data_ptr()
        return after.clone() if shared else after


def rollout(simulator: Simulator, state: Tensor, params: Tensor | None, steps: int, every: int = 1) -> Tensor:
    """Advance states step by step and keep every so manyth of them.

    Args:
        simulator: What advances them.
        state: `(B, *F)` states to start from.
        params: `(B, k)`, the same for all steps; may be None for a simulator without parameters.
        steps: Steps to take; 0 takes none.
        every: Keep the states after each so many steps; must divide steps.

    Returns:
        `(1 + steps / every, B, *F)` trajectories; the first entry is `state` itself. Rows that blew up are NaN from
        there on.

    Raises:
        InvalidSetting: If steps or every is out of range or every does not divide steps.
        InvalidState: As `Simulator.step` does.

    Examples:
        >>> from problems.pde.simulators import from_step
        >>> halving = from_step(lambda state: state / 2, fields=(1,))
        >>> rollout(halving, torch.ones(1, 1), None, steps=4, every=2).flatten()
        tensor([1.0000, 0.2500, 0.0625])
    """
    if not isinstance(simulator, Simulator):
        raise InvalidSetting(
            f"simulator must be a Simulator, got {brief(simulator)}; from_step makes one of a function."
        )
    steps, every = check_count(steps, "steps", 0), check_count(every, "every")
    if steps % every:
        raise InvalidSetting(f"every must divide steps, got every={every} and steps={steps}.")
    if not steps:
        simulator.check_inputs(state, params)
    kept = [state]
    for number in range(1, steps + 1):
        state = simulator.step(state, params)
        if number % every == 0:
            kept.append(state)
    return torch.stack(kept)


def _check_fields(fields: object) -> tuple[int, ...]:
    sizes = list(fields) if isinstance(fields, Sequence) and not isinstance(fields, str) else []
    if not sizes:
        raise InvalidSetting(f"fields must be the shape of one state, such as (48,), got {brief(fields)}.")
    return tuple(check_count(size, "each size in fields") for size in sizes)


def _check_names(parameters: object) -> tuple[str, ...]:
    names = list(parameters) if isinstance(parameters, Sequence) and not isinstance(parameters, str) else [None]
    if not all(isinstance(name, str) and name for name in names):
        raise InvalidSetting(f"parameters must be names, such as ('reynolds',), got {brief(parameters)}.")
    if len(set(names)) < len(names):
        raise InvalidSetting(f"parameters must have different names, got {brief(parameters)}.")
    return tuple(map(str, names))
