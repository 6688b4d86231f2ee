"""What solvers cost besides the queries, at d = 10,000 with 1,000 queries an iteration, one core.

RGE's ask and tell, which make a thousand random directions and contract them, against the least that a dense
implementation does: one `torch.randn(1000, 10000)` and one matrix product. The Nevergrad adapter against Nevergrad's
own loop: `ask` 1,000 times, then `tell` 1,000 times, with the same optimiser and number of workers. No evaluation
anywhere.

The last line gives the worst row's ratio divided by its own goal: at most 1 means that all rows meet theirs.
"""

from __future__ import annotations

from typing import Any

import torch
from harness import Options, Report, Row, alternate

import zotoolkit
from zotoolkit.errors import UnknownId

RGE_GOAL = 1.0
NEVERGRAD_GOAL = 1.2
NEVERGRAD = ("OnePlusOne", "TwoPointsDE", "PSO")


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    dim, count = (1000, 50) if options.quick else (10_000, 1000)
    rows = [_rge(law, dim, count, options) for law in ("normal", "rademacher")]
    missing: list[str] = []
    for name in NEVERGRAD[:1] if options.quick else NEVERGRAD:
        try:
            rows.append(_nevergrad(name, dim, count, options))
        except UnknownId:
            missing.append(f"Nevergrad/{name}-v0 is not registered")
    return Report(rows, {"d": dim, "queries": count, "threads": 1, "dtype": "float32"}, several=True, missing=missing)


def _rge(law: str, dim: int, count: int, options: Options) -> Row:
    solver = zotoolkit.make_solver("ZO/SGD-RGE-v0", q=count, law=law)
    solver.reset(zotoolkit.make_space(dim), torch.zeros(dim, device=options.device))
    values = torch.rand(count + 1, device=options.device)
    weights = torch.rand(count, device=options.device)

    def dense() -> torch.Tensor:
        return weights @ torch.randn(count, dim, device=options.device)

    def ours() -> dict[str, float]:
        return solver.tell(solver.ask(), values)

    baseline, mine = alternate(dense, ours, options.repeats(31), options.device)
    label = f"RGE {law}: ask + tell / randn + product"
    return Row(label, [1e3 * t for t in baseline], [1e3 * t for t in mine], "ms", "at most", RGE_GOAL)


def _nevergrad(name: str, dim: int, count: int, options: Options) -> Row:
    import nevergrad
    import numpy as np

    solver = zotoolkit.make_solver(f"Nevergrad/{name}-v0", num_workers=count)
    x0 = torch.zeros(dim)
    solver.reset(zotoolkit.make_space(dim), x0)
    values = torch.rand(count, generator=torch.Generator().manual_seed(0))
    losses = values.tolist()
    parameter = nevergrad.p.Array(init=np.zeros(dim))
    parameter.random_state.seed(0)
    own: Any = nevergrad.optimizers.registry[name](parameter, budget=None, num_workers=count)

    def loop() -> None:
        candidates = [own.ask() for _ in range(count)]
        for candidate, loss in zip(candidates, losses, strict=True):
            own.tell(candidate, loss)

    def ours() -> dict[str, float]:
        batch = solver.ask()
        return solver.tell(batch, values[: len(batch)])

    baseline, mine = alternate(loop, ours, options.repeats(7))
    label = f"Nevergrad {name}: adapter / own loop"
    return Row(label, [1e3 * t for t in baseline], [1e3 * t for t in mine], "ms", "at most", NEVERGRAD_GOAL)
