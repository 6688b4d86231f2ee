"""Reference data of the wake: all simulations together against one after the other, one core.

The fine grid of the papers, 256 x 128 cells, their 11 Reynolds numbers and the 2 of the validation split, float32. The
baseline is the loop that one writes first: simulation by simulation, keep the fine frames, down-sample them in the end.
Ours is `make_references`, nothing cached. Both give the same data, compared before the clock starts.

The other row is what the whole takes, 13 simulations of 1,499 steps, reckoned from the steps that were measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from harness import Options, Report, Row, alternate
from torch import Tensor

from problems.pde.references import make_references
from problems.pde.references.wake import TEST, TRAIN, VALIDATION
from problems.pde.simulators import rollout
from problems.pde.simulators.wake import WakeFlow, downsample

GOAL = 1.3
_FACTOR = 4
_WHOLE = 1499  # steps


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    cells, steps = (16, 4) if options.quick else (32, 8)
    numbers = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    flow = WakeFlow(_FACTOR * cells)

    def starts(values: Sequence[float]) -> tuple[Tensor, Tensor]:
        params = torch.tensor(values, device=options.device)[:, None]
        return flow.initial_state(len(values), device=options.device), params

    splits = [starts(values) for values in numbers.values()]

    def ours() -> list[Tensor]:
        made = make_references(
            flow,
            *splits,
            frames=steps + 1,
            dt=1.0,
            coarsen=lambda states: downsample(states, _FACTOR),
            layout="staggered",
            progress=False,
        )
        return [made.train.states, made.validation.states, made.test.states]

    def theirs() -> list[Tensor]:
        start = flow.initial_state(device=options.device)
        found: list[Tensor] = []
        with torch.no_grad():
            for values in numbers.values():
                one = [torch.tensor([[value]], device=options.device) for value in values]
                paths = [downsample(rollout(flow, start, params, steps), _FACTOR)[:, 0].cpu() for params in one]
                found.append(torch.stack(paths))
        return found

    for mine, other in zip(ours(), theirs(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)
    times = alternate(theirs, ours, options.repeats(9), options.device)
    count = sum(map(len, numbers.values()))
    baseline, mine = ([1e3 * seconds / (count * steps) for seconds in side] for side in times)
    whole = [count * _WHOLE / 1e3 * value for value in mine]
    rows = [
        Row("fine step with its frame", baseline, mine, "ms a state", "at least", GOAL),
        Row(f"{count} simulations of {_WHOLE:,} steps", [], whole, "s", "value"),
    ]
    settings = {
        "fine": f"{2 * _FACTOR * cells} x {_FACTOR * cells} cells",
        "coarse": f"{2 * cells} x {cells} cells",
        "simulations": count,
        "steps measured": steps,
        "dtype": "float32",
        "threads": 1,
    }
    return Report(rows, settings)
