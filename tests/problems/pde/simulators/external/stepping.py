"""Processes that step the tests' program, to be interrupted, killed or ended: `stepping.py FOLDER`.

A process for each way to end, all forks of one, each in a folder of its own; `FOLDER/processes.json` tells their
numbers, and in the end `FOLDER/codes.json` how they ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import torch

from tests.problems.pde.simulators.external import programs
from tests.problems.pde.simulators.external.text_files import program

WAYS = ("interrupt", "kill", "kill guard", "exit", "fork")


def main(folder: Path) -> None:
    processes = {}
    for way in WAYS:
        (folder / way).mkdir()
        processes[way] = os.fork()
        if processes[way] == 0:
            step(folder / way, way)
            return
    _tell(folder / "processes.json", processes)
    _tell(folder / "codes.json", {way: os.waitpid(number, 0)[1] for way, number in processes.items()})


def _tell(path: Path, what: dict[str, int]) -> None:
    path.with_suffix(".part").write_text(json.dumps(what))
    path.with_suffix(".part").replace(path)


def step(folder: Path, way: str) -> None:
    """Step two states whose programs stay and have started daemons, unless the way to end is another one."""
    log = folder / "log"
    doubling = program(folder, workers=2, timeout=500.0, environment={"STAY": "1", "LOG": str(log)})
    state, params = torch.ones(2, 3), torch.full((2, 1), float(programs.DAEMON))
    if way == "exit":  # in the middle of a step
        threading.Thread(target=doubling.step, args=(state, params), daemon=True).start()
        while not log.exists() or len(log.read_text().splitlines()) < 2:
            time.sleep(0.01)
        return
    if way == "fork":
        own = program(folder)
        own.step(state, torch.zeros(2, 1))
        if os.fork() == 0:
            while not (folder / "go").exists():
                time.sleep(0.01)
            (folder / "answer").write_text(str(float(own.step(state, torch.zeros(2, 1))[0, 0])))
        return
    try:
        doubling.step(state, params)
    except KeyboardInterrupt:
        left = [path.name for path in folder.iterdir() if path != log]
        (folder / "said").write_text(f"interrupted {left}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
