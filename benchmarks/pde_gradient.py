"""Gradients of an unrolled loss by coordinate queries, against back-propagation through the simulator, by mu.

The corrector of the wake flow (278 parameters, float32) is first trained, 300 steps of first-order training over 4
unrolled steps; then its gradient is estimated on windows of its own and held against autograd's. One minus the cosine
is judged at the default mu, which the objective takes from the simulator's accuracy and the dtype; other mu are there
to show on which side of it the errors lie. The reference is autograd in float32 too, so that its own rounding counts as
ours. Rows with random directions, which ask as often, show what is left where the estimate itself is noise.
"""

from __future__ import annotations

from typing import Any

import torch
from harness import Options, Report, Row
from torch.nn import functional

import zotoolkit
from problems.pde import CorrectSimulator, correct_wake_flow
from problems.pde.recipes import fo_sol
from zotoolkit.estimators import CGE, RGE
from zotoolkit.estimators.base import Difference
from zotoolkit.spaces import bounds_of

GOAL = 0.01
MUS: dict[Difference, tuple[float, ...]] = {"forward": (1e-5, 1e-4, 1e-3, 1e-2), "central": (1e-4, 1e-3, 1e-2)}


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    settings: dict[str, Any] = {"resolution": 16, "factor": 2, "spin_up": 3, "frames": 20} if options.quick else {}
    objective = correct_wake_flow(**settings, device=options.device)
    trainer = fo_sol(iterations=5 if options.quick else 300)
    trained = zotoolkit.minimize(objective, trainer, budget=10_000, progress=False).x
    contexts = range(1_000, 1_002 if options.quick else 1_005)
    exact = [objective.gradient(trained, context)[1] for context in contexts]
    rows = []
    for difference, others in MUS.items():
        default = objective.fitting_mu(difference)
        for mu, goal in ((default, GOAL), *((other, None) for other in others)):
            label = f"CGE, {difference}, mu = {mu:.2g}" + (", default" if goal else "")
            off = [_off(objective, CGE(mu, difference), trained, c, g) for c, g in zip(contexts, exact, strict=True)]
            rows.append(Row(label, [], off, "1 - cosine", "value", goal))
    seeded = RGE(objective.fitting_mu("forward"), 278)
    off = [_off(objective, seeded, trained, c, g) for c, g in zip(contexts, exact, strict=True)]
    rows.append(Row("RGE, forward, q = 278, default", [], off, "1 - cosine", "value"))
    return Report(
        rows,
        {
            "problem": "PDE/WakeFlow-v0" + (", 32 x 16 cells" if options.quick else ", 64 x 32 cells"),
            "parameters": objective.dim,
            "unroll": objective.windows.longest,
            "windows": objective.windows.count,
            "dtype": "float32",
            "contexts": len(contexts),
        },
        several=True,
        clock="none: cosines",
    )


def _off(
    objective: CorrectSimulator, estimator: CGE | RGE, x: torch.Tensor, context: int, exact: torch.Tensor
) -> float:
    """Return one minus the cosine between an estimate and the gradient."""
    batch = estimator.queries(x, None, context, 0, bounds_of(objective.space, objective.device))
    values, *_ = objective.step(batch)
    found = estimator.gradient(batch, values, torch.isfinite(values)).gradient
    return 1 - float(functional.cosine_similarity(found.double(), exact.double(), dim=0))
