"""The file format of the tests' program, and the program as a simulator."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from problems.pde.simulators.external import ExternalProgram

PROGRAM = Path(__file__).with_name("programs.py")


class TextFiles:
    """One state a line, each a JSON list of numbers."""

    def write(self, folder: Path, state: Any, params: Any) -> None:
        for name, array in (("state", state), ("params", params)):
            lines = [json.dumps(row) for row in np.atleast_2d(array).tolist()]
            (folder / f"{name}.txt").write_text("\n".join(lines))

    def read(self, folder: Path) -> Any:
        path = folder / "after.txt"
        if not path.is_file():
            raise FileNotFoundError("there is no after.txt")
        rows = np.array([json.loads(line) for line in path.read_text().splitlines()])
        return rows if len(rows) != 1 or (folder / "batched").exists() else rows[0]


class BatchedTextFiles(TextFiles):
    """The same for several states in a process, of which there may be one."""

    def write(self, folder: Path, state: Any, params: Any) -> None:
        super().write(folder, state, params)
        (folder / "batched").touch()


def program(folder: Path, **settings: Any) -> ExternalProgram:
    """Return the program with states of three numbers; its parameter says what it does wrong."""
    settings = {"files": BatchedTextFiles() if settings.get("batched") else TextFiles(), "timeout": 100.0} | settings
    command = [sys.executable, "-I", "-S", PROGRAM]
    return ExternalProgram(command, fields=(3,), parameters=["action"], folder=folder, name="doubling", **settings)
