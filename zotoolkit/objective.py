"""The interface of everything that can only be asked "what is your loss at x"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

import torch
from gymnasium.spaces import Box
from torch import Tensor
from typing_extensions import Self

from zotoolkit import dispatch
from zotoolkit.checks import check_count
from zotoolkit.errors import CheckpointMismatch, InvalidBatch, InvalidSetting, brief
from zotoolkit.figures.drawing import Drawing
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import check_seed
from zotoolkit.spaces import bounds_of, check_space, check_start, dtype_of
from zotoolkit.status import StepInfo

if TYPE_CHECKING:
    from zotoolkit.registration import EntrySpec

_CHUNK_BYTES_CPU = 64 << 20
_CHUNK_BYTES_GPU = 1 << 30


class BlackBoxObjective(ABC):
    """A loss over a box that can be queried and nothing else.

    A subclass calls `super().__init__(space)` and writes `evaluate`. For the same seed an objective is a pure function
    of (x, context): noise and mini-batches are drawn from `zotoolkit.seeding.derive_seed(self.seed, context)`.

    Args:
        space: `(d,)` Box of float32 or float64; `zotoolkit.make_space` builds one.
        device: Where points and losses live.

    Attributes:
        space: Where the points lie.
        spec: How the registry made this objective, None if it did not.
        metadata: Facts for people and reports, such as a name or a known optimum.
        seed: What noise and mini-batches derive from; set by `reset`.
        queries: Queries spent since `reset`.
        costs_spent: What they cost, in the units of `costs`.

    Raises:
        InvalidSpace: If the space is no one-axis floating-point Box.

    Examples:
        >>> import zotoolkit
        >>> class Parabola(zotoolkit.BlackBoxObjective):
        ...     def __init__(self):
        ...         super().__init__(zotoolkit.make_space(dim=3))
        ...     def evaluate(self, x, context):
        ...         return (x**2).sum(dim=1)
        >>> objective = Parabola()
        >>> x0, info = objective.reset(seed=0)
        >>> values, terminated, truncated, info = objective.step(zotoolkit.DenseBatch.at(torch.ones(2, 3)))
        >>> values.tolist()
        [3.0, 3.0]
    """

    def __init__(self, space: Box, *, device: torch.device | str = "cpu") -> None:
        self.space = check_space(space)
        self.device = torch.device(device)
        self.spec: EntrySpec | None = None
        self.metadata: dict[str, Any] = {}
        self.seed = 0
        self.queries = 0
        self.costs_spent: dict[str, float] = {}
        self._allowance: int | None = None
        self._chunk_limit: int | None = None

    # What a subclass writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        """Return the `(q,)` floating-point losses at `(q, d)` points.

        Must not write into x. May raise: the rows that raise are found and marked FAILED, the others keep their answer;
        `zotoolkit.PartialFailure` says at once which rows failed, and `zotoolkit.errors.BudgetSpent` that a budget of
        the objective's own does not cover them: these and what follows are SKIPPED, and `step` says `truncated`.

        Args:
            x: `(q, d)` points.
            context: Which mini-batch or noise draw all rows share.
        """

    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        """Answer a coordinate batch without its points, `(q,)`; None (the default) asks for the dense path."""
        return None

    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        """Answer a seeded batch without its points, `(q,)`; None (the default) asks for the dense path."""
        return None

    def start(self) -> Tensor:
        """Return the `(d,)` default start point: the middle of a bounded coordinate, else the point nearest 0."""
        low, high = bounds_of(self.space, self.device)
        middle = low + (high - low) / 2
        return torch.where(torch.isfinite(middle), middle, torch.clamp(torch.zeros_like(low), low, high))

    def noise_free(self, x: Tensor) -> Tensor | None:
        """Return the `(q,)` true losses at `(q, d)` points, without noise or mini-batch; None if there are none.

        Not a query: for reports that compare solvers, never for solvers.
        """
        return None

    def metrics(self, x: Tensor) -> dict[str, float]:
        """Return named figures of merit at one `(d,)` point, such as test accuracy; empty by default."""
        return {}

    def final_metrics(self, x: Tensor) -> dict[str, float]:
        """Return figures of merit that are too dear for every point of a curve; asked once, when a run has ended."""
        return {}

    def pictures(self, points: Mapping[str, Mapping[int, Tensor]]) -> Sequence[Drawing]:
        """Draw what points mean, such as trajectories or images, for those who compare solvers; nothing by default.

        Not a query. `zotoolkit run` asks at its end, with its own point, and `zotoolkit compare` once a problem, with
        the points of all solvers and seeds. It may raise, such as `zotoolkit.errors.MissingExtra` where matplotlib is
        not installed: results are kept, and a warning says why there are no pictures.

        Args:
            points: By solver's label, by seed: the `(d,)` point that the solver recommended at the end of that run. The
                caller has reset to none of these seeds. Where a point means something together with its seed only, as
                where a network's fixed parts are drawn by it, call `reset(seed=seed)` before using it.
        """
        return ()

    def costs(self, batch: QueryBatch) -> dict[str, float]:
        """Return what answering the batch costs; a fast path that computes a share of a forward says so here.

        Asked when the batch has been answered.
        """
        return {"forward_equivalents": float(len(batch))}

    def queries_per_chunk(self, batch: QueryBatch) -> int:
        """Return how many queries are answered together: as many dense points as 64 MiB hold (1 GiB on a GPU)."""
        size = _CHUNK_BYTES_GPU if batch.device.type == "cuda" else _CHUNK_BYTES_CPU
        fitting = max(1, size // (self.dim * batch.base.element_size()))
        return fitting if self._chunk_limit is None else min(fitting, self._chunk_limit)

    def close(self) -> None:
        """Free what the objective holds open, such as threads or files."""

    # What a caller uses ---------------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return self.space.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the points."""
        return dtype_of(self.space)

    @property
    def unwrapped(self) -> BlackBoxObjective:
        """The objective under all wrappers."""
        return self

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start anew: set the seed, zero the counters, return a start point.

        Args:
            seed: What noise and mini-batches derive from; None keeps the present one (at first 0).
            options: `{"x0": point}` starts elsewhere.

        Returns:
            `(d,)` start point and an info dict.

        Raises:
            InvalidStart: If the given start point does not fit the space.
            InvalidSetting: If the seed is no integer in [0, 2^63) or an option is unknown.
        """
        seed = self.seed if seed is None else check_seed(seed)
        options = {} if options is None else options
        if not isinstance(options, dict):
            raise InvalidSetting(f"options must be a dict that may hold 'x0', got {brief(options)}.")
        if unknown := set(options) - {"x0"}:
            raise InvalidSetting(f"options may hold 'x0' only, got {sorted(map(str, unknown))}.")
        given = None if "x0" not in options else check_start(options["x0"], self.space)
        self.seed, self.queries, self.costs_spent = seed, 0, {}
        x0 = check_start(self.start(), self.space) if given is None else given
        return x0.to(self.device), {}

    @final
    def step(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        """Answer a batch of queries.

        Args:
            batch: What is asked; its dimension must be the objective's.

        Returns:
            values: `(q,)` losses; NaN where a query failed or was skipped.
            terminated: Whether a target loss has been reached.
            truncated: Whether a budget is spent.
            info: Status per query, error messages, queries spent and costs; see `zotoolkit.StepInfo`.

        Raises:
            InvalidBatch: If the batch does not fit the space.
            InvalidValues: If the objective answers with anything but one floating-point loss a query.
            InputMutated: If the objective writes into its input.
        """
        if not isinstance(batch, QueryBatch):
            raise InvalidBatch(
                f"step takes a QueryBatch, got {brief(batch)}; DenseBatch.at(points) makes one of points."
            )
        if batch.dim != self.dim or batch.dtype != self.dtype:
            raise InvalidBatch(
                f"the batch must have d={self.dim} and dtype {self.dtype}, got d={batch.dim} and {batch.dtype}."
            )
        if batch.device.type != self.device.type:
            raise InvalidBatch(f"the batch must be on the objective's device {self.device}, got {batch.device}.")
        values, terminated, truncated, info = self._answer(batch)
        self.queries += info["queries"]
        for name, cost in info["costs"].items():
            self.costs_spent[name] = self.costs_spent.get(name, 0.0) + cost
        return values, terminated, truncated, info

    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        """What `step` does between checking and counting; wrappers put their own around it."""
        values, info, spent = dispatch.answer(self, batch, self._allowance)
        if self._allowance is not None:
            self._allowance -= info["queries"]
        return values, False, spent, info

    @contextmanager
    def allowing(self, queries: int) -> Iterator[None]:
        """Within this context spend at most so many queries, and skip those beyond; contexts nest.

        The limit sits at the objective itself, below every wrapper, so that retries count and cached answers do not.

        Raises:
            InvalidSetting: If queries is no integer of at least 0.
        """
        check_count(queries, "queries", least=0)
        outer = self._allowance
        inner = queries if outer is None else min(queries, outer)
        self._allowance = inner
        try:
            yield
        finally:
            self._allowance = None if outer is None else outer - (inner - self._allowance)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the seed: the counters; wrappers add their own state."""
        return {"queries": self.queries, "costs_spent": dict(self.costs_spent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; call `reset` with the same seed first.

        Raises:
            CheckpointMismatch: If the state is of a run with other wrappers.
        """
        if wrapper := state.get("wrapper"):
            raise CheckpointMismatch(
                f"the checkpoint has {wrapper} where this run has the bare objective; resume with the same wrappers."
            )
        self.queries = state["queries"]
        self.costs_spent = dict(state["costs_spent"])

    def limit_chunk(self, queries: int) -> None:
        """Answer at most so many queries together from now on; the dispatcher calls it when memory runs out."""
        self._chunk_limit = max(1, queries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        name = type(self).__name__ if self.spec is None else f"{type(self).__name__} {self.spec.id}"
        return f"<{name}: d={self.dim}, {str(self.dtype).removeprefix('torch.')}, {self.device}>"
