"""Run by test_minimize.py: kills a run 20 times at random moments, resumes it, and compares it with a whole one.

The run's own processes are forked from here, so that each costs no import.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

import zotoolkit
from zotoolkit.checkpoint import has_checkpoint, load_state

ITERATIONS = 2000


class Drifting(zotoolkit.BlackBoxObjective):
    """A parabola whose minimum depends on the context, slow enough to be killed in the middle."""

    def __init__(self) -> None:
        super().__init__(zotoolkit.make_space(20, low=-3.0, high=3.0))

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        time.sleep(0.0005)
        target = torch.sin(torch.arange(x.shape[1]) * 1.7 + context)
        return ((x - target) ** 2).sum(dim=1)


def go(folder: Path | None, solver: str, resume: bool, iterations: int = ITERATIONS) -> Tensor:
    objective = Drifting()
    mine = zotoolkit.make_solver(solver, lr=0.01)
    mine.reset(objective.space, objective.reset()[0])
    budget = iterations * len(mine.ask())
    result = zotoolkit.minimize(
        objective,
        mine,
        budget=budget,
        seed=5,
        progress=False,
        checkpoint=folder,
        checkpoint_iterations=3,
        resume=resume,
    )
    return result.x


def main(folder: Path, solver: str) -> None:
    torch.set_num_threads(1)
    run = folder / "run"
    go(None, solver, resume=False, iterations=2)  # what is imported at the first step is imported before the forks
    chance = random.Random()
    killed = 0
    while killed < 20:
        child = os.fork()
        if child == 0:
            go(run, solver, resume=has_checkpoint(run))
            os._exit(0)
        time.sleep(chance.uniform(0.005, 0.25))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print("the run ended before it was killed often enough: make it longer")
            return
        killed += 1
    done = load_state(run)[0]["run"]["iteration"]
    if not 0 < done < ITERATIONS:
        print(f"killed at iteration {done} of {ITERATIONS}: no test of anything")
        return
    resumed = go(run, solver, resume=True)
    whole = go(None, solver, resume=False)
    print("killed", killed, "equal", torch.equal(resumed, whole))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
