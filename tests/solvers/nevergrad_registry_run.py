"""Runs a part of nevergrad's registry for a short budget and prints what failed, as JSON.

    python nevergrad_registry_run.py PART PARTS

Where the adapter fails, nevergrad's own loop is run in the same setting, with a dozen seeds. Nothing is closed: the
process must end with all of the optimisers in the middle of their runs.
"""

from __future__ import annotations

import json
import sys
import warnings

import nevergrad as ng
import numpy as np
import torch

from zotoolkit import NevergradSolver, make_space
from zotoolkit.solvers.nevergrad_solver import optimizer_names
from zotoolkit.solvers.nevergrad_threads import NevergradCalls

DIM, BUDGET, WORKERS = 3, 12, 3
SEEDS = 12  # some fail at some seeds only


def losses(x: np.ndarray) -> list[float]:
    return ((x - 0.3) ** 2).sum(1).tolist()


def adapter(name: str) -> NevergradSolver:
    """Spend the budget; keep to the bounds, end on the budget and recommend a point."""
    solver = NevergradSolver(name, num_workers=WORKERS)
    solver.reset(make_space(DIM, -3.0, 3.0, "float64"), torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), seed=1)
    solver.plan(BUDGET)
    asked = 0
    while asked < BUDGET:
        batch = solver.ask()
        points = batch.points()
        if not bool((points.abs() <= 3).all()):
            raise AssertionError(f"asked outside of the bounds: {points.tolist()}")
        solver.tell(batch, torch.tensor(losses(points.numpy()), dtype=torch.float64))
        asked += len(batch)
    if asked != BUDGET or not bool((solver.recommend().abs() <= 3).all()):
        raise AssertionError(f"asked {asked} queries, recommends {solver.recommend().tolist()}")
    return solver


def own_loop(name: str, seed: int) -> None:
    """Do the same without the adapter; its threads are only made to fail where they would hang."""
    configured = ng.optimizers.registry[name]
    workers = 1 if configured.no_parallelization else WORKERS
    array = ng.p.Array(init=np.array([1.0, 2.0, 0.5]), lower=np.full(DIM, -3.0), upper=np.full(DIM, 3.0))
    array.random_state = np.random.RandomState(seed)
    with NevergradCalls()(seed):
        optimizer = configured(array, budget=BUDGET, num_workers=workers)
        for _ in range(BUDGET // workers):
            candidates = [optimizer.ask() for _ in range(workers)]
            for candidate, loss in zip(candidates, losses(np.stack([c.value for c in candidates])), strict=True):
                optimizer.tell(candidate, loss)


def main(part: int, parts: int) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    names = optimizer_names()
    kept: list[NevergradSolver] = []
    table: dict[str, list[str | None]] = {}
    for name in sorted(names)[part::parts]:
        table[name] = []
        try:
            kept.append(adapter(name))
        except Exception as error:
            table[name] = [f"{type(error).__name__}: {error}", None]
            try:
                for seed in range(SEEDS):
                    own_loop(names[name], seed)
            except Exception as upstream:
                table[name][1] = f"{type(upstream).__name__}: {upstream}"
    print(json.dumps(table))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
