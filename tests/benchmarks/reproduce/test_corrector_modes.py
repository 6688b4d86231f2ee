"""The comparisons of ways to train a corrector run, in their quick size, and write what they found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "benchmarks" / "reproduce"


@pytest.mark.parametrize("name", ["ks_modes", "wake_modes", "wake_long"])
def test_quick_runs_end_with_a_table_and_a_picture(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), "--quick", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--plot", str(tmp_path / "errors.png")], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / f"{name.replace('_', '-')}-quick-cpu.json").read_text(encoding="utf-8"))
    assert written["complete"]
    modes, rates = written["tables"]
    assert [row[0].split(" (")[0] for row in modes["rows"]] == ["SRC", "ZO-SOL, CGE", "FO-SOL"]
    assert all(row[2] != "-" for row in modes["rows"])
    assert len(rates["rows"]) == 3
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")
