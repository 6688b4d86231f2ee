"""The run through icoFoam: its smallest setting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.problems.pde.simulators.external.openfoam.needs import needs_openfoam

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "reproduce" / "icofoam.py"


@needs_openfoam
def test_the_smallest_setting(tmp_path: Path) -> None:
    environment = {**os.environ, "ZOTOOLKIT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out/icofoam-quick-cpu.json").read_text(encoding="utf-8"))
    assert written["complete"] is True
    runs = {run["name"]: run for run in written["runs"]}
    assert {name for name in runs if not name.startswith("tuning")} == {
        "src",
        "non-seed0",
        "cge-seed0",
        "cge-from-zero-seed0",
        "rge-seed0",
    }
    for name, run in runs.items():
        figures = run["metrics"]
        assert any(figure.startswith("test_") for figure in figures) != run["tuning"], name
        assert figures["validation_mae_3"] > 0
    assert runs["src"]["x"] == [0.0] * 12
    assert runs["src"]["metrics"]["of_uncorrected_3"] == 1
    assert runs["cge-seed0"]["start"] == "non-seed0"
    # Two iterations of 13 queries on 2 windows, and one query of the end; the first of 2 steps is shared by a batch.
    assert (runs["cge-seed0"]["queries"], runs["cge-seed0"]["state_steps"]) == (27, 2 * (2 + 13 * 2) + 2 + 2)
    assert "ZO-SOL, CGE" in done.stdout
