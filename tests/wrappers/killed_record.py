"""Run by test_record.py: records steps and is killed at random moments; each process goes on where the last one ended.

The processes are forked from here, so that each costs no import. Writes the number of steps whose answer was returned.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import zotoolkit

KILLS = 8


def go(path: Path, log: int) -> None:
    objective = zotoolkit.Record(
        zotoolkit.from_callable(lambda x: (x**2).sum(axis=1), dim=3, batched=True), path, points=True, append=True
    )
    objective.reset(seed=0)
    for context in range(1_000_000):
        base = torch.full((3,), float(context), dtype=torch.float64)
        scale = torch.ones(300, dtype=torch.float64)
        objective.step(zotoolkit.SeededBatch(base=base, scale=scale, seed=torch.arange(300), context=context))
        os.write(log, b".")


def main() -> None:
    path, log_path = Path(sys.argv[1]), Path(sys.argv[2])
    moment = random.Random(int(sys.argv[3]))
    for _ in range(KILLS):
        before = log_path.stat().st_size if log_path.exists() else 0
        child = os.fork()
        if child == 0:
            go(path, os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        while not log_path.exists() or log_path.stat().st_size == before:
            time.sleep(0.001)
        time.sleep(moment.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    sys.stdout.write(f"{log_path.stat().st_size}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
