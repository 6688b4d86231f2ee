"""Answers to repeated queries from memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.fingerprints import query_fingerprints
from zotoolkit.inner import InnerBatch
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.status import Status, StepInfo
from zotoolkit.wrappers.base import Wrapper
from zotoolkit.wrappers.splicing import splice, unanswered

_Key = tuple[int, int, int]


class Cache(Wrapper):
    """Asks each (context, query) once and answers repetitions, also inside one batch, from memory at no cost.

    Only what is new goes on, as a batch of the same kind; a batch without repetitions goes on as it is. Queries are
    told apart by 128-bit fingerprints. A point is recognised whichever batch it comes in, with one exception that
    spares the work of writing directions out: a seeded query is recognised by its seed, so its point asked for in a
    dense batch is new. Queries that failed or were skipped are not remembered. `reset` forgets everything.

    Args:
        objective: What to ask.
        size: How many answers to remember, about 300 bytes each; those not asked for longest go first.
        ignore_context: Whether an answer holds in every context: only for objectives without noise and mini-batches.

    Attributes:
        hits: Queries answered from memory since the last reset.

    Raises:
        InvalidSetting: If size is no integer of at least 1.

    Examples:
        >>> import torch, zotoolkit
        >>> objective = Cache(zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2), size=1000)
        >>> _ = objective.reset(seed=0)
        >>> batch = zotoolkit.DenseBatch.at(torch.eye(2, dtype=torch.float64))
        >>> [objective.step(batch)[3]["queries"] for _ in range(2)]
        [2, 0]
    """

    def __init__(self, objective: BlackBoxObjective, size: int = 100_000, *, ignore_context: bool = False) -> None:
        super().__init__(objective)
        self.size = check_count(size, "size")
        if not isinstance(ignore_context, bool):
            raise InvalidSetting(f"ignore_context must be True or False, got {brief(ignore_context)}.")
        self.ignore_context = ignore_context
        self.hits = 0
        self._answers: OrderedDict[_Key, float] = OrderedDict()
        self._dtype = self.dtype  # of the losses; a float holds either kind exactly

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        start = super().reset(seed=seed, options=options)
        self._answers.clear()
        self.hits = 0
        return start

    @override
    def state_dict(self) -> dict[str, Any]:
        # With its answers: a resumed run spends as many queries as one that was never interrupted.
        keys = torch.tensor(list(self._answers), dtype=torch.int64).reshape(-1, 3)
        values = torch.tensor(list(self._answers.values()), dtype=self._dtype)
        return {**super().state_dict(), "hits": self.hits, "keys": keys, "values": values}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.hits = state["hits"]
        keys = [(context, a, b) for context, a, b in state["keys"].tolist()]
        self._dtype = state["values"].dtype
        self._answers = OrderedDict(zip(keys, state["values"].tolist(), strict=True))

    @override
    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        if isinstance(batch, InnerBatch):  # its queries are not told apart by points, and no context asks them twice
            return super()._answer(batch)
        context = -1 if self.ignore_context else batch.context
        keys: list[_Key] = [(context, a, b) for a, b in query_fingerprints(batch).tolist()]
        first: dict[_Key, int] = {}
        for row, key in enumerate(keys):
            if key not in self._answers:
                first.setdefault(key, row)
        if len(first) == len(batch):
            values, terminated, truncated, info = super()._answer(batch)
        else:
            new = torch.tensor(list(first.values()), dtype=torch.int64)
            # Asked even when nothing is new, since what lies below may have to say that a run is over.
            part, terminated, truncated, part_info = super()._answer(batch[new.to(batch.device)])
            values, info = splice(*unanswered(self.objective, batch), new, part, part_info)
            values, info = self._recall(keys, first, values, info)
        self._remember(keys, first, values, info)
        return values, terminated, truncated, info

    def _recall(
        self, keys: list[_Key], first: dict[_Key, int], values: Tensor, info: StepInfo
    ) -> tuple[Tensor, StepInfo]:
        """Fill in what was not asked: from memory, or from the row of this batch that asked the same."""
        known = {row: self._answers[key] for row, key in enumerate(keys) if key not in first}
        if known:
            rows = torch.tensor(list(known), dtype=torch.int64)
            answers = torch.tensor(list(known.values()), dtype=self._dtype, device=values.device)
            status = torch.where(torch.isfinite(answers).cpu(), int(Status.OK), int(Status.NON_FINITE))
            recalled = StepInfo(status=status.to(torch.uint8), errors={}, queries=0, costs={})
            values, info = splice(values, info, rows, answers, recalled)
        twins = {row: first[key] for row, key in enumerate(keys) if first.get(key, row) != row}
        if twins:
            rows, sources = torch.tensor(list(twins)), torch.tensor(list(twins.values()))
            errors = {i: info["errors"][at] for i, at in enumerate(twins.values()) if at in info["errors"]}
            copied = StepInfo(status=info["status"][sources], errors=errors, queries=0, costs={})
            values, info = splice(values, info, rows, values[sources.to(values.device)], copied)
        answered = (Status.OK, Status.NON_FINITE)
        self.hits += len(known) + sum(int(info["status"][row]) in answered for row in twins)
        return values, info

    def _remember(self, keys: list[_Key], first: dict[_Key, int], values: Tensor, info: StepInfo) -> None:
        status = info["status"].tolist()
        self._dtype = torch.promote_types(self._dtype, values.dtype)
        losses = values.tolist()
        for row, key in enumerate(keys):
            if key in self._answers:
                self._answers.move_to_end(key)
            elif first[key] == row and status[row] in (Status.OK, Status.NON_FINITE):
                self._answers[key] = losses[row]
        while len(self._answers) > self.size:
            self._answers.popitem(last=False)
