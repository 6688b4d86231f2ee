"""Answers put together from answers to parts of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.status import Status, StepInfo


def unanswered(objective: BlackBoxObjective, batch: QueryBatch) -> tuple[Tensor, StepInfo]:
    """Return the answer to a batch of which nothing has been asked: NaN and SKIPPED throughout, at no cost."""
    status = torch.full((len(batch),), Status.SKIPPED, dtype=torch.uint8)
    costs = dict.fromkeys(objective.costs(batch[:0]), 0.0)
    return batch.scale.new_full((len(batch),), float("nan")), StepInfo(status=status, errors={}, queries=0, costs=costs)


def splice(
    values: Tensor, info: StepInfo, rows: Tensor, part_values: Tensor, part_info: StepInfo
) -> tuple[Tensor, StepInfo]:
    """Put the answer to `batch[rows]` into the answer to the batch.

    A query that the part skipped keeps the answer it had; queries and costs add up.

    Args:
        values: `(q,)` losses so far.
        info: Their info.
        rows: `(k,)` int64 positions that were asked, on the CPU.
        part_values: `(k,)` losses.
        part_info: Their info.

    Returns:
        Values and info as fresh memory, in the wider of the two dtypes.
    """
    answered = torch.nonzero(part_info["status"] != Status.SKIPPED)[:, 0]
    target = rows[answered]
    out = values.to(device=part_values.device, dtype=torch.promote_types(values.dtype, part_values.dtype), copy=True)
    out[target.to(out.device)] = part_values[answered.to(out.device)].to(out.dtype)
    status = info["status"].clone()
    status[target] = part_info["status"][answered]
    replaced = set(target.tolist())
    errors = {row: message for row, message in info["errors"].items() if row not in replaced}
    position = rows.tolist()
    errors.update({position[row]: message for row, message in part_info["errors"].items()})
    costs = dict(info["costs"])
    for name, cost in part_info["costs"].items():
        costs[name] = costs.get(name, 0.0) + cost
    queries = info["queries"] + part_info["queries"]
    spliced = StepInfo(status=status, errors=dict(sorted(errors.items())), queries=queries, costs=costs)
    # An InnerBatch is answered whole: what came back with its last answer is what holds.
    told = part_info if "gradient" in part_info else info
    if "gradient" in told:
        spliced["gradient"], spliced["figures"] = told["gradient"], told.get("figures", {})
    return out, spliced
