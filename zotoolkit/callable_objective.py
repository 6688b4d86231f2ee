"""A plain function as an objective, in a line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.dispatch import PartialFailure
from zotoolkit.errors import InputMutated, InvalidSetting, InvalidValues, ZotoolkitError, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.spaces import check_start, make_space

Library = Literal["numpy", "torch"]


class CallableObjective(BlackBoxObjective):
    """What `from_callable` returns; see there."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        dim: int,
        low: ArrayLike,
        high: ArrayLike,
        x0: ArrayLike | Tensor | None,
        batched: bool,
        library: Library,
        workers: int,
        dtype: str,
        device: torch.device | str,
        name: str | None,
    ) -> None:
        if not callable(function):
            raise InvalidSetting(f"function must be callable, got {brief(function)}.")
        super().__init__(make_space(dim, low, high, dtype), device=device)
        check_choice(library, ("numpy", "torch"), "library")
        check_count(workers, "workers")
        if batched and workers > 1:
            raise InvalidSetting(
                f"workers={workers} is for scalar functions; a batched one gets all points in one call."
            )
        self._function = function
        self._batched = batched
        self._library = library
        self._takes_context = "context" in _parameters(function)
        self._x0 = None if x0 is None else check_start(x0, self.space).to(self.device)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="zotoolkit-query") if workers > 1 else None
        self.metadata = {"name": name or getattr(function, "__name__", type(function).__name__)}

    @override
    def start(self) -> Tensor:
        return super().start() if self._x0 is None else self._x0.clone()

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        if self._batched:
            return self._as_losses(self._call(x, context), len(x))
        rows = list(x)
        if self._pool is None:
            outcomes = [self._one(row, context) for row in rows]
        else:
            outcomes = list(self._pool.map(lambda row: self._one(row, context), rows))
        failed = {i: outcome for i, outcome in enumerate(outcomes) if isinstance(outcome, str)}
        losses = [float("nan") if isinstance(outcome, str) else outcome for outcome in outcomes]
        values = torch.tensor(losses, dtype=torch.float64, device=self.device)
        if failed:
            raise PartialFailure(values, failed)
        return values

    @override
    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, x: Tensor, context: int) -> Any:
        argument = _read_only(x) if self._library == "numpy" else x
        try:
            return self._function(argument, context=context) if self._takes_context else self._function(argument)
        except ValueError as error:
            if self._library == "numpy" and "read-only" in str(error):  # NumPy's words for every way of writing
                name = self.metadata["name"]
                raise InputMutated(f"{name} wrote into its input ({error}); work on x.copy().") from error
            raise

    def _one(self, row: Tensor, context: int) -> float | str:
        """Return a row's loss, or what went wrong."""
        try:
            with torch.no_grad():  # worker threads have a grad mode of their own
                answer = self._call(row, context)
        except ZotoolkitError:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if isinstance(answer, (Tensor, np.ndarray)):
            if math.prod(answer.shape) != 1:
                raise InvalidValues(
                    f"{self.metadata['name']} must return one number for one point, got {brief(answer)}; "
                    "if it takes all points at once, pass batched=True."
                )
            answer = answer.item()
        if not isinstance(answer, Real):
            raise InvalidValues(f"{self.metadata['name']} must return one number for one point, got {brief(answer)}.")
        return float(answer)

    def _as_losses(self, answer: Any, count: int) -> Tensor:
        if isinstance(answer, Tensor):
            return answer
        if not isinstance(answer, np.ndarray):
            raise InvalidValues(
                f"{self.metadata['name']} is batched and must return {count} losses as an array or tensor, "
                f"got {brief(answer)}; a function of one point needs batched=False."
            )
        if not np.issubdtype(answer.dtype, np.floating):
            raise InvalidValues(
                f"{self.metadata['name']} must return floating-point losses, got {brief(answer)}; "
                "use values.astype(float)."
            )
        # A copy: a view of the read-only input, or one with negative strides, is nothing that torch can share.
        return torch.from_numpy(np.array(answer, order="C")).to(self.device)


def from_callable(
    function: Callable[..., Any],
    *,
    dim: int,
    low: ArrayLike = -np.inf,
    high: ArrayLike = np.inf,
    x0: ArrayLike | Tensor | None = None,
    batched: bool = False,
    library: Library = "numpy",
    workers: int = 1,
    dtype: str = "float64",
    device: torch.device | str = "cpu",
    name: str | None = None,
) -> BlackBoxObjective:
    """Make an objective of a function.

    Args:
        function: Takes one `(d,)` point and returns a number, or, if batched, takes `(q, d)` points and returns `(q,)`
            losses. If it has a parameter `context`, it is also told which mini-batch or noise draw to use.
        dim: Number of coordinates d.
        low: Lower bounds, a number or d of them.
        high: Upper bounds.
        x0: `(d,)` start point; by default the middle of the box, or 0 where it is unbounded.
        batched: Whether the function takes all points at once.
        library: What the points are: "numpy" (read-only arrays) or "torch".
        workers: Threads that call a scalar function side by side, for functions that wait (a program, a server).
        dtype: "float64" or "float32".
        device: Where torch points live.
        name: For reports; by default the function's.

    Returns:
        The objective. A call that raises makes that query FAILED and no other.

    Raises:
        InvalidSetting, InvalidSpace, InvalidStart: If an argument cannot be used.

    Examples:
        >>> objective = from_callable(lambda x: float(sum(x**2)), dim=2, low=-5, high=5, x0=[1.0, 2.0])
        >>> x0, _ = objective.reset()
        >>> from zotoolkit import DenseBatch
        >>> objective.step(DenseBatch.at(x0[None]))[0].item()
        5.0
    """
    return CallableObjective(
        function,
        dim=dim,
        low=low,
        high=high,
        x0=x0,
        batched=batched,
        library=library,
        workers=workers,
        dtype=dtype,
        device=device,
        name=name,
    )


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-ins tell nothing of themselves
        return ()


def _read_only(x: Tensor) -> np.ndarray:
    array = x.detach().cpu().numpy()
    array.flags.writeable = False
    return array
