"""A function or module of the user's as a simulator, in a line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from problems.pde.simulators.base import Simulator
from zotoolkit.checks import check_choice
from zotoolkit.dispatch import is_out_of_memory
from zotoolkit.errors import InputMutated, InvalidSetting, InvalidState, ZotoolkitError, brief

Library = Literal["torch", "numpy"]
_log = logging.getLogger("zotoolkit")


class CallableSimulator(Simulator):
    """What `from_step` returns; see there."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        fields: Sequence[int],
        parameters: Sequence[str],
        batched: bool,
        library: Library,
        max_batch: int | None,
        deterministic: bool,
        differentiable: bool,
        tol: float,
        name: str | None,
    ) -> None:
        if not callable(function):
            raise InvalidSetting(f"function must be callable, got {brief(function)}.")
        check_choice(library, ("torch", "numpy"), "library")
        if differentiable and library == "numpy":
            raise InvalidSetting("autograd does not go through NumPy; with differentiable=True use library='torch'.")
        super().__init__(
            fields,
            parameters,
            max_batch=max_batch,
            deterministic=deterministic,
            differentiable=differentiable,
            tol=tol,
        )
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._function = function
        self._batched = bool(batched)
        self._library = library

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        if self._batched:
            return self._call(state, params)
        after: list[Tensor] = []
        failed: dict[int, Exception] = {}
        for row in range(len(state)):
            try:
                after.append(self._call(state[row], params[row]))
            except ZotoolkitError:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                failed[row] = error
                after.append(torch.full_like(state[row], torch.nan))
        if failed:
            first, error = next(iter(failed.items()))
            if len(failed) == len(state):
                raise error
            _log.warning(
                "%s failed for %d of %d states, which become NaN; row %d: %s: %s",
                *(self.name, len(failed), len(state), first, type(error).__name__, error),
            )
        return torch.stack(after)

    @property
    @override
    def _name(self) -> str:
        return self.name

    def _call(self, state: Tensor, params: Tensor) -> Tensor:
        arguments = (state, params) if self.parameters else (state,)
        if self._library == "numpy":
            return self._as_tensor(self._call_numpy(arguments), state)
        after = self._function(*arguments)
        if not isinstance(after, Tensor):
            raise InvalidState(
                f"{self.name} must return a tensor, got {brief(after)}; is it a library='numpy' function?"
            )
        if after.shape != state.shape:
            raise InvalidState(f"{self.name} must return {self._what(state)}, got {brief(after)}.{self._hint(after)}")
        # A copy: a function may keep its answer and write the next one into the same memory.
        return after.clone()

    def _call_numpy(self, arguments: tuple[Tensor, ...]) -> Any:
        arrays = [argument.detach().cpu().numpy().view() for argument in arguments]
        for array in arrays:
            array.flags.writeable = False
        try:
            return self._function(*arrays)
        except ValueError as error:
            if "read-only" in str(error):  # NumPy's words for every way of writing
                raise InputMutated(f"{self.name} wrote into its input ({error}); work on state.copy().") from error
            raise

    def _as_tensor(self, after: Any, state: Tensor) -> Tensor:
        fitting = isinstance(after, np.ndarray) and after.shape == tuple(state.shape)
        if not fitting or not np.issubdtype(after.dtype, np.floating):
            hint = self._hint(after)
            raise InvalidState(f"{self.name} must return {self._what(state)} as an array, got {brief(after)}.{hint}")
        return torch.from_numpy(np.array(after, order="C")).to(state)

    def _what(self, state: Tensor) -> str:
        return f"{tuple(state.shape)} floating-point numbers"

    def _hint(self, after: Any) -> str:
        """Guess that a function of one state was declared batched, or the other way round."""
        shape = tuple(getattr(after, "shape", ()))
        if self._batched and shape == self.fields:
            return " A function of one state needs batched=False."
        return " A function of many states needs batched=True." if not self._batched and len(shape) else ""


def from_step(
    function: Callable[..., Any],
    *,
    fields: Sequence[int],
    parameters: Sequence[str] = (),
    batched: bool = True,
    library: Library = "torch",
    max_batch: int | None = None,
    deterministic: bool = True,
    differentiable: bool = False,
    tol: float = 0.0,
    name: str | None = None,
) -> Simulator:
    """Make a simulator of a function or a `torch.nn.Module`.

    Args:
        function: Called as `function(state, params)`, or as `function(state)` where there are no parameters. Takes and
            returns `(B, *F)` states with `(B, k)` parameters if batched, else `(*F)` with `(k,)`.
        fields: `*F`, the shape of one state.
        parameters: Names of the k parameters.
        batched: Whether the function takes any number of states at once.
        library: What it takes and returns: "torch", or "numpy" (read-only arrays; what it returns is brought to the
            states' dtype).
        max_batch: States in one call at most; None for any number.
        deterministic: Whether the same state and parameters always give the same next state.
        differentiable: Whether autograd goes through the function.
        tol: Relative accuracy of one step beyond the rounding of its dtype, such as the tolerance of an iteration.
        name: For messages; by default the function's.

    Returns:
        The simulator. Where a function of one state raises, that row becomes NaN and a warning is logged; if it raises
        for all rows, or is batched, the error is passed on.

    Raises:
        InvalidSetting: If an argument cannot be used.

    Examples:
        >>> def explicit_heat(u, params):  # one state, as NumPy sees it
        ...     return u + params[0] * (np.roll(u, 1) - 2 * u + np.roll(u, -1))
        >>> heat = from_step(explicit_heat, fields=(4,), parameters=["diffusion"], batched=False, library="numpy")
        >>> heat.step(torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([[0.25]]))
        tensor([[0.2500, 0.5000, 0.2500, 0.0000]])
    """
    return CallableSimulator(
        function,
        fields=fields,
        parameters=parameters,
        batched=batched,
        library=library,
        max_batch=max_batch,
        deterministic=deterministic,
        differentiable=differentiable,
        tol=tol,
        name=name,
    )
