"""A black box behind a network whose parameters are searched: the network's candidates are ours, what follows is not.

An engine delivers the network's outputs at each candidate, and shares most of the work between them; the black box is
asked on these, row by row. Nothing is differentiated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zotoolkit.engines import Engine, Inputs
from zotoolkit.errors import InvalidBatch, brief
from zotoolkit.nn.asking import Asker, Function
from zotoolkit.nn.layer import BlackBoxFunction, check_extras
from zotoolkit.queries import QueryBatch


def losses_behind(
    engine: Engine,
    batch: QueryBatch,
    inputs: Inputs,
    function: Function | Asker | BlackBoxFunction,
    *extras: Tensor,
    seed: int = 0,
    max_batch: int = 1024,
) -> Tensor:
    """Return the mean loss over a mini-batch that a black box gives each candidate's outputs.

    Takes one query of the black box for each candidate and sample.

    Args:
        engine: Of the network, which takes `inputs` and returns `(B, *shape)`.
        batch: The candidates.
        inputs: The mini-batch.
        function: `function(points, *extras)`: `(m, *shape)` outputs of the network and `(m, ...)` extras in, `(m,)`
            losses out. An `Asker` or a `BlackBoxFunction` is asked through its own count, budget and failure policy.
        extras: `(B, ...)` each, such as labels.
        seed: Of the network's random layers.
        max_batch: Rows of one call, for a bare function.

    Returns:
        `(q,)` losses, NaN where a query of one of the samples failed: its mean would be over other samples than its
        neighbours'.

    Raises:
        InvalidBatch: If the network's output or an extra has another form, or the function returns no plain losses.
        BudgetSpent: If the whole batch takes more queries than are left; none is sent.
        QueryFailed: If a query failed and the policy is "raise".

    Examples:
        >>> from torch import nn
        >>> from zotoolkit import CoordinateBatch
        >>> from zotoolkit.engines import ReplayEngine
        >>> engine = ReplayEngine(nn.Linear(2, 2, bias=False), nn.functional.mse_loss)
        >>> batch = CoordinateBatch(base=torch.zeros(4), scale=torch.tensor([0.0, 0.5]), index=torch.tensor([0, 3]))
        >>> losses_behind(engine, batch, torch.ones(3, 2), lambda points: points.sum(1)).tolist()
        [0.0, 0.5]
    """
    if isinstance(function, BlackBoxFunction):
        function = function.asker
    asker = function if isinstance(function, Asker) else Asker(function, None, "drop", max_batch)
    means: list[Tensor] = []
    for outputs in engine.outputs(batch, inputs, seed):
        if not isinstance(outputs, Tensor) or outputs.ndim < 2 or not outputs.shape[1]:
            raise InvalidBatch(f"the network must return one (B, ...) tensor, got {brief(outputs)} for the candidates.")
        candidates, samples = outputs.shape[:2]
        if not means:
            check_extras(extras, samples, outputs.device)
            asker.reserve(len(batch) * samples)
        rows = outputs.flatten(0, 1)
        losses: list[Tensor] = []
        for start in range(0, len(rows), asker.max_batch):
            part = rows[start : start + asker.max_batch].clone()
            owners = torch.arange(start, start + len(part), device=rows.device) % samples
            losses.append(asker.ask(part, [extra[owners] for extra in extras], torch.Size()))
        means.append(torch.cat(losses).view(candidates, samples).mean(1))
    return torch.cat(means) if means else batch.scale.new_empty(0)
