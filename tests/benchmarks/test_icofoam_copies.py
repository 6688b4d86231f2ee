from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.test_harness import RUN
from tests.problems.pde.simulators.external.openfoam.needs import needs_openfoam


@needs_openfoam
def test_it_runs_and_writes_its_file(tmp_path: Path) -> None:
    command = [sys.executable, str(RUN), "icofoam-copies", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "icofoam-copies-cpu.json").read_text(encoding="utf-8"))
    assert written["clock"] == "CPU time of the process and its children"
    assert written["rows"][0]["ours"]["samples"]


def test_without_openfoam_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "icofoam-copies"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "icofoam-copies cannot run here: it needs OpenFOAM: apt install openfoam" in done.stderr
