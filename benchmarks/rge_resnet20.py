"""Random-direction queries on ResNet-20: a seeded batch against the obvious in-place loop, one core.

An estimate of q = 192 directions. The loop draws normal numbers by torch's generator, adds them to the weights, runs
the network in training mode, and takes them back. Ours asks the objective for a seeded batch, directions included. Both
laws, and both arithmetics; for bfloat16 the error that it adds to the slopes along the directions is measured beside.
"""

from __future__ import annotations

import copy
import functools

import torch
from block_loop import BlockLoop, resnet_task
from harness import Options, Report, Row, alternate
from torch import Tensor

from problems.dnn import SupervisedData, TrainNetwork
from zotoolkit import SeededBatch
from zotoolkit.engines import ReplayEngine
from zotoolkit.engines.base import Arithmetic

GOALS = {"cpu": 2.0, "cuda": 20.0}
DIRECTIONS = 192
MU = 5e-3


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    batch = (4 if options.quick else 64) if options.device == "cpu" else 256
    network, inputs, targets = resnet_task(8 if options.quick else 20, batch, options.device)
    baseline = BlockLoop(network, inputs, targets)
    data = SupervisedData(inputs, targets)
    # A sample on a CPU is a part of the batch: every query costs the same.
    count = 2 if options.quick else 12 if options.device == "cpu" else DIRECTIONS
    rows: list[Row] = []
    slopes: dict[str, Tensor] = {}
    variants: tuple[tuple[Arithmetic, str], ...] = (
        ("bfloat16", "rademacher"),
        ("bfloat16", "normal"),
        ("float32", "rademacher"),
        ("float32", "normal"),
    )
    for arithmetic, law in variants[: 1 if options.quick else None]:
        objective = TrainNetwork(
            lambda: copy.deepcopy(network),
            data,
            batch_size=None,
            engine=functools.partial(ReplayEngine, arithmetic=arithmetic),
            device=options.device,
        )
        x0, _ = objective.reset(seed=0)
        queries = _queries(x0, count, law)
        theirs, ours = alternate(
            lambda: baseline.direction_losses(list(range(count)), MU),
            lambda objective=objective, queries=queries: objective.step(queries),
            options.repeats(7),
            options.device,
        )
        goal = GOALS[options.device] if not rows else None
        each = 1e3 / count
        rows.append(
            Row(
                f"{arithmetic}, {law}",
                [each * t for t in theirs],
                [each * t for t in ours],
                "ms a query",
                "at least",
                goal,
            )
        )
        if law == "rademacher" and not options.quick:
            slopes[arithmetic] = _slopes(objective, x0)
    notes = []
    if slopes:
        error = torch.linalg.vector_norm(slopes["bfloat16"] - slopes["float32"]) / torch.linalg.vector_norm(
            slopes["float32"]
        )
        dim = sum(parameter.numel() for parameter in network.parameters())
        notes.append(
            f"bfloat16 moves the {len(slopes['float32'])} slopes by {100 * float(error):.1f} % (2-norm, mu {MU:g}, "
            f"Rademacher); an estimate from {DIRECTIONS} of {dim:,} directions is itself off by a factor sqrt(d / q) = "
            f"{(dim / DIRECTIONS) ** 0.5:.0f}"
        )
    settings = {"network": "ResNet-20, as initialised", "batch": batch, "mu": MU, "threads": 1, "images": "noise"}
    return Report(rows, {**settings, "queries a sample": count}, notes=notes)


def _queries(base: Tensor, count: int, law: str) -> SeededBatch:
    scale = torch.full((count,), MU, device=base.device)
    return SeededBatch(base=base, scale=scale, seed=torch.arange(count, device=base.device), law=law)


def _slopes(objective: TrainNetwork, x0: Tensor) -> Tensor:
    """Return forward differences along 16 directions."""
    values = objective.step(_queries(x0, 16, "rademacher"))[0]
    still = objective.evaluate(x0[None], 0)
    return (values - still) / MU
