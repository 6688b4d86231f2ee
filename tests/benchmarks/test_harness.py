"""The benchmarks run and write what they say; their figures are no test's business."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"
NAMES = (
    "candidate-networks",
    "cge-accuracy",
    "cge-memory",
    "cge-resnet20",
    "certificates-attacked",
    "certify",
    "defense-attacked",
    "defense-parameters",
    "http-black-box",
    "icofoam-copies",
    "ks-step",
    "pde-gradient",
    "query-memory",
    "rge-resnet20",
    "solver-overhead",
    "vmap-engine",
    "wake-references",
    "wake-step",
)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(RUN), *arguments], capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("name", NAMES)
def test_quick_runs_write_valid_files(name: str, tmp_path: Path) -> None:
    done = call(name, "--quick", "--out", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1].split()
    assert last[0] == name
    assert last[1].startswith("ratio=")
    assert last[2].startswith("goal=")
    written = json.loads((tmp_path / "results" / f"{name}-cpu.json").read_text(encoding="utf-8"))
    assert written["benchmark"] == name
    assert written["quick"] is True
    assert float(last[1].removeprefix("ratio=")) == pytest.approx(written["ratio"], rel=0.01)
    assert written["versions"]["torch"]
    assert written["machine"]["processor"]
    assert written["date"].endswith("+00:00")
    for row in written["rows"]:
        assert math.isfinite(row["ratio"])
        assert row["ours"]["samples"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == [f"{name}-cpu.json"]


def test_list_names_all() -> None:
    done = call("--list")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert set(NAMES) <= set(listed)
    assert listed == sorted(listed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vmap-engin",), "no benchmark 'vmap-engin'; there is"),
        ((), "name one benchmark, or pass --all"),
        (("vmap-engine", "--all"), "name one benchmark, or pass --all"),
        (("vmap-engine", "--device", "tpu"), "invalid choice: 'tpu'"),
    ],
)
def test_bad_usage_is_said(arguments: tuple[str, ...], words: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
