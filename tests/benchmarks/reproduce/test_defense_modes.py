"""The comparison of defenses: its smallest setting, in pieces and whole, its tables out of its counts, its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).resolve().parents[3] / "benchmarks" / "reproduce"
MORE_TO_DO = 3


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """No test reads or fills the user's cache."""
    return {**os.environ, "ZOTOOLKIT_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}


def call(script: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HOME / f"{script}.py"), "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def whole(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    done = call("defense_modes", environment, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out


def table(out: Path) -> dict[str, Any]:
    return json.loads((out / "defense-modes-quick-cpu.json").read_text(encoding="utf-8"))


def figures(out: Path) -> dict[str, Any]:
    """What must be the same however often a run was stopped."""
    names = ("counts", "smoothing", "queries", "training_images", "clean_accuracy")
    return {run["name"]: [run[name] for name in names] for run in table(out)["runs"]}


def test_results_state_what_they_are(whole: Path) -> None:
    written = table(whole)
    assert written["complete"] is True
    assert written["data"] == "scikit-learn digits"
    assert "Robustify" in written["paper"]
    assert all(row for found in written["tables"] for row in found["rows"])
    for run in written["runs"]:
        assert run["hardware"].endswith(", cpu")
        assert run["problem"]["certified_images"] == run["images"] == 20
        assert all(len(column.split()) == 20 for column in run["counts"].values())
        if run["solver"] is None:
            assert run["queries"] == run["training_images"] == 0
        elif not run["trained_by"]:
            assert run["settings"]["lr"] > 0
            assert run["queries"] > 0
            assert run["training_images"] >= run["queries"] * run["problem"]["batch_size"] * (not run["first_order"])


def test_tables_follow_from_the_counts(whole: Path, environment: dict[str, str]) -> None:
    program = (
        f"import sys, json; sys.path.insert(0, {str(HOME)!r})\n"
        "from pathlib import Path\n"
        "import defense_cell\n"
        "from zotoolkit.certification import load_certification\n"
        "out = Path(sys.argv[1])\n"
        "for run in json.loads((out / 'defense-modes-quick-cpu.json').read_text())['runs']:\n"
        "    home = out / 'runs' / 'defense-modes-quick-cpu' / run['name']\n"
        "    kept, read = load_certification(home / f'counts-{run[\"n\"]}'), defense_cell.certification_of(run)\n"
        "    assert kept.radii.tolist() == read.radii.tolist(), run['name']\n"
        "    assert kept.predicted.tolist() == read.predicted.tolist(), run['name']\n"
        "    assert kept.certified_accuracy([0, 0.25]).tolist() == read.certified_accuracy([0, 0.25]).tolist()\n"
        "    print(run['name'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(whole)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(figures(whole))


PIECE = """
import sys
sys.path.insert(0, {home!r})
import experiment, defense_modes
left = {checks}
def check_time(self):
    global left
    left -= 1
    if left < 0:
        raise experiment.TimeUp
experiment.Options.check_time = check_time
sys.exit(experiment.main(defense_modes.EXPERIMENT, sys.argv[1:]))
"""


def test_runs_made_of_pieces_are_the_whole_ones(whole: Path, environment: dict[str, str], tmp_path: Path) -> None:
    program = PIECE.format(home=str(HOME), checks=28)
    codes: list[int] = []
    while not codes or codes[-1] == MORE_TO_DO:
        command = [sys.executable, "-c", program, "--quick", "--out", str(tmp_path)]
        codes.append(subprocess.run(command, check=False, env=environment, capture_output=True).returncode)
    assert codes[-1] == 0
    assert len(codes) > 1
    assert figures(tmp_path) == figures(whole)


def test_figures_are_drawn_of_what_there_is(whole: Path, environment: dict[str, str], tmp_path: Path) -> None:
    done = call("defense_figures", environment, "--results", str(whole), "--figures", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "defense-cnn.png",
        "defense-forest.png",
        "defense-panels.png",
    }
    nothing = call("defense_figures", environment, "--results", str(tmp_path), "--figures", str(tmp_path))
    assert nothing.returncode == 2
    assert "holds no table" in nothing.stderr
