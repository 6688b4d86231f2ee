"""A process that steps the tests' program, to be interrupted, killed or ended: `stepping.py FOLDER WAY`."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import torch

from tests.problems.pde.simulators.external import programs
from tests.problems.pde.simulators.external.text_files import program


def main(folder: Path, way: str) -> None:
    doubling = program(folder, workers=2, timeout=500.0, environment={"STAY": "1", "LOG": str(folder / "log")})
    state, params = torch.ones(2, 3), torch.full((2, 1), float(programs.DAEMON))
    if way == "exit":  # in the middle of a step
        threading.Thread(target=doubling.step, args=(state, params), daemon=True).start()
        while len(list(folder.glob("log"))) < 1 or len((folder / "log").read_text().split()) < 4:
            time.sleep(0.01)
        sys.exit(0)
    if way == "fork":
        own = program(folder)
        own.step(state, torch.zeros(2, 1))
        if os.fork() == 0:
            while not (folder / "go").exists():
                time.sleep(0.01)
            (folder / "answer").write_text(str(float(own.step(state, torch.zeros(2, 1))[0, 0])))
            sys.exit(0)
        sys.exit(0)
    try:
        doubling.step(state, params)
    except KeyboardInterrupt:
        left = [path.name for path in folder.iterdir() if path.name != "log"]
        print("interrupted", left, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
