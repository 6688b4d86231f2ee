"""The interface of every solver: ask, tell, recommend."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from gymnasium.spaces import Box
from torch import Tensor

from zotoolkit.errors import AskTellOrder, CheckpointMismatch, InvalidValues, SolverFinished, brief
from zotoolkit.queries import QueryBatch
from zotoolkit.seeding import check_seed
from zotoolkit.spaces import Bounds, bounds_of, check_space, check_start
from zotoolkit.status import Status, StepInfo

if TYPE_CHECKING:
    from zotoolkit.objective import BlackBoxObjective
    from zotoolkit.registration import EntrySpec


class Solver(ABC):
    """Asks for batches of queries, is told their losses, and recommends a point.

    A subclass keeps its hyper-parameters from `__init__` and sets its state in `_start`. It writes `_ask`, `_tell` and
    `recommend`, never queries outside the space, and draws at random only from `zotoolkit.seeding` at
    (self.seed, self.iteration): its state is then small and a resumed run continues bit for bit.

    Attributes:
        space: `(d,)` Box that is searched; set by `reset`.
        x0: `(d,)` start point; set by `reset`.
        seed: Of every random draw; set by `reset`.
        iteration: How many batches have been told.
        finished: Whether the solver has ended by itself; `minimize` then stops.
        spec: How the registry made this solver, None if it did not.
    """

    space: Box
    x0: Tensor
    bounds: Bounds

    def __init__(self) -> None:
        self.spec: EntrySpec | None = None
        self.seed = 0
        self.iteration = 0
        self.finished = False
        self._asked: QueryBatch | None = None
        self._ready = False

    # What a subclass writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def _start(self) -> None:
        """Set the state for a new run; `space`, `bounds`, `x0`, `seed` and `iteration` are set already."""

    @abstractmethod
    def _ask(self) -> QueryBatch:
        """Build the next batch, with `context=self.iteration` (or an earlier one, to ask a mini-batch again).

        Must not change what `_state` returns: that is the state after the last `_tell`.
        """

    @abstractmethod
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        """Take in the answers.

        Args:
            batch: The batch that was asked.
            values: `(q,)` losses, NaN or infinite where unusable.
            usable: `(q,)` bool, where the status is OK.

        Returns:
            Named figures for the log; `"loss"` is the loss at, or nearest to, the iterate.
        """

    @abstractmethod
    def recommend(self) -> Tensor:
        """Return the `(d,)` point that the solver would stand by now, as fresh memory."""

    def _state(self) -> dict[str, Any]:
        """Return the subclass's state: nested dicts and lists of tensors, numbers, texts, booleans and None."""
        return {}

    def _load(self, state: dict[str, Any]) -> None:
        """Take back what `_state` returned, after `_start`."""

    def close(self) -> None:
        """Free what the solver holds open, such as threads."""

    # What a caller uses ---------------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return self.space.shape[0]

    def reset(self, space: Box, x0: Tensor, *, seed: int | None = None) -> None:
        """Begin a run.

        Args:
            space: `(d,)` Box to search.
            x0: `(d,)` start point inside it; the solver works on its device.
            seed: Of every random draw; 0 when left out.

        Raises:
            InvalidSpace, InvalidStart, InvalidSetting: If one of these cannot be used.
        """
        self.space = check_space(space)
        self.x0 = check_start(x0, space)
        self.bounds = bounds_of(space, self.x0.device)
        self.seed = 0 if seed is None else check_seed(seed)
        self.iteration = 0
        self.finished = False
        self._asked = None
        self._ready = True
        self._start()

    def attach(self, objective: BlackBoxObjective) -> None:
        """Hear which objective will be asked; `minimize` says so before `reset`. Most solvers ignore it.

        Gradient solvers read how its coordinates form layers and how long an epoch is. Only first-order references,
        which are no zeroth-order solvers and say so, take more than losses from its queries.
        """

    def plan(self, budget: int) -> None:
        """Hear how many queries there will be, for solvers that plan ahead; `minimize` says so after `reset`.

        Args:
            budget: Queries that the whole run may spend. A solver whose course depends on it keeps it in its state, so
                that a run resumed with a larger budget follows its first plan.
        """

    def ask(self) -> QueryBatch:
        """Return the next batch of queries; asked again before `tell`, the same one.

        Raises:
            AskTellOrder: If `reset` has not been called.
            SolverFinished: If the solver has ended by itself.
        """
        self._check_ready("ask")
        if self.finished:
            raise SolverFinished(f"{self!r} has finished; recommend() returns its answer, reset() begins a new run.")
        if self._asked is None:
            self._asked = self._ask()
        return self._asked

    def tell(self, batch: QueryBatch, values: Tensor, info: StepInfo | None = None) -> dict[str, float]:
        """Take in the answers to the batch that was asked.

        Args:
            batch: What `ask` returned.
            values: `(q,)` losses.
            info: The step's info; without it, finite values count as OK.

        Returns:
            Named figures for the log.

        Raises:
            AskTellOrder: If that batch is not the one asked last.
            InvalidValues: If there is not one value a query.
        """
        self._check_ready("tell")
        if batch is not self._asked:
            raise AskTellOrder("tell takes the very batch that ask returned last; a batch is told once.")
        if not isinstance(values, Tensor) or values.shape != (len(batch),) or not values.is_floating_point():
            raise InvalidValues(
                f"values must be a floating-point tensor of shape ({len(batch)},), got {brief(values)}."
            )
        usable = torch.isfinite(values)
        if info is not None:
            usable &= (info["status"] == Status.OK).to(values.device)
        figures = self._tell(batch, values.detach(), usable)
        self.iteration += 1
        self._asked = None
        return figures

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: nested dicts and lists of tensors, numbers, texts, booleans and None.

        It is the state after the last `tell`, whether or not the next batch has been asked since, so that a run that is
        interrupted while its queries are answered loses that batch alone.

        Raises:
            AskTellOrder: Before `reset`.
        """
        self._check_ready("state_dict")
        return {
            "solver": type(self).__name__,
            "dim": self.dim,
            "seed": self.seed,
            "iteration": self.iteration,
            "finished": self.finished,
            "state": copy.deepcopy(self._state()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; call `reset` with the same space and start point first.

        Raises:
            CheckpointMismatch: If the state belongs to another solver or dimension.
        """
        self._check_ready("load_state_dict")
        if missing := {"solver", "dim", "seed", "iteration", "finished", "state"} - set(state):
            raise CheckpointMismatch(f"the state is not what state_dict returns: it lacks {sorted(missing)}.")
        for name, mine in (("solver", type(self).__name__), ("dim", self.dim)):
            if state[name] != mine:
                raise CheckpointMismatch(f"the state is of {name} {state[name]!r}, this solver has {mine!r}.")
        self.seed, self._asked = state["seed"], None
        self._start()
        self.iteration, self.finished = state["iteration"], state["finished"]
        self._load(copy.deepcopy(state["state"]))

    def _check_ready(self, call: str) -> None:
        if not self._ready:
            raise AskTellOrder(f"call reset(space, x0) before {call}.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>" if self.spec is None else f"<{type(self).__name__} {self.spec.id}>"
