"""The vmap engine against a Python loop of functional_call, on the digits MLP, one core.

Both sides compute the mini-batch cross-entropy of the same q networks. The loop is what one writes without an engine:
unflatten a point, `torch.func.functional_call`, `torch.nn.functional.cross_entropy`, one candidate after another. The
engine gets the same `(q, d)` points; a row of its own shows what `step` adds, which makes the points from the batch's
description, checks the answer and counts.

The goal is for the demo's network and mini-batch, which are the defaults of DNN/DigitsMLP-v0. Wider networks and larger
mini-batches inform: the more arithmetic a candidate has, the less a Python loop loses.
"""

from __future__ import annotations

import torch
from harness import Options, Report, Row, alternate
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

import zotoolkit
from problems.dnn import TrainNetwork
from zotoolkit import DenseBatch

GOAL = 20.0
OTHERS = ({"hidden": 16}, {"hidden": 32}, {"batch_size": 128})


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    count = 50 if options.quick else 1000
    default = zotoolkit.make("DNN/DigitsMLP-v0", device=options.device)
    rows = [_compare(default, count, options, GOAL), _compare(default, count, options, through_step=True)]
    for settings in () if options.quick else OTHERS:
        rows.append(_compare(zotoolkit.make("DNN/DigitsMLP-v0", device=options.device, **settings), count, options))
    settings = {"problem": "DNN/DigitsMLP-v0", "queries": count, "threads": 1, "dtype": "float32", **default.metadata}
    return Report(rows, settings)


def _compare(
    objective: zotoolkit.BlackBoxObjective,
    count: int,
    options: Options,
    goal: float | None = None,
    through_step: bool = False,
) -> Row:
    assert isinstance(objective, TrainNetwork)
    x0, _ = objective.reset(seed=0)
    noise = torch.randn(count, objective.dim, generator=torch.Generator().manual_seed(0)).to(x0)
    points = x0 + 0.05 * noise
    batch = DenseBatch.at(points)
    module = objective.network(x0).train()
    inputs, targets = objective.minibatch(0)

    def loop() -> Tensor:
        with torch.no_grad():
            losses = [
                functional.cross_entropy(functional_call(module, objective.layout.unflatten(point), (inputs,)), targets)
                for point in points
            ]
        return torch.stack(losses)

    def ours() -> Tensor:
        return objective.step(batch)[0] if through_step else objective.evaluate(points, 0)

    torch.testing.assert_close(ours(), loop(), rtol=1e-4, atol=1e-4)
    baseline, mine = alternate(loop, ours, options.repeats(25), options.device)
    label = f"d={objective.dim}, batch {objective.batch_size}, q={count}{', step' if through_step else ''}"
    return Row(label, [1e3 * t for t in baseline], [1e3 * t for t in mine], "ms", "at least", goal)
