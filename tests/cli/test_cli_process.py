"""The command line as real processes: every sub-command, Ctrl-C, resume."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.compare import toy_problems
from tests.compare.tables import write_comparison
from zotoolkit.checkpoint import load_state
from zotoolkit.cli import main
from zotoolkit.compare import grid, store
from zotoolkit.compare.cell import Cell, run_cell
from zotoolkit.compare.runner import read_comparison
from zotoolkit.errors import CheckpointError

TOYS = str(Path(toy_problems.__file__))
PROGRAM = [sys.executable, "-m", "zotoolkit.cli"]
COMPARE = ["compare", "--import", TOYS, "--problems", "Toy/Quadratic:noise=0.1,seconds=0.01", "--seeds", "2"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups as POSIX has them")


def interrupt_once_begun(arguments: list[str], folder: Path, pattern: str) -> subprocess.CompletedProcess[str]:
    """Start a command, press Ctrl-C as a terminal does once a run is well under way, and wait for its end."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while process.poll() is None and not _under_way(folder, pattern):
            time.sleep(0.05)
        # A terminal sends the signal to the whole process group.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=400)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def _under_way(folder: Path, pattern: str) -> bool:
    for path in folder.glob(pattern):
        with contextlib.suppress(CheckpointError):  # a run that ends in this very moment removes its checkpoint
            if load_state(path.parent)[0]["run"]["iteration"] > 3:
                return True
    return False


def timeless(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="seconds")


def test_ctrl_c_then_resume_gives_the_same_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["run", "Toy/Quadratic", "--import", TOYS, "--solver", "ZO/SPSA", "--set", "noise=0.1"]
    arguments += ["--set", "seconds=0.01", "--budget", "400", "--checkpoint-seconds", "0.05", "--out", str(out)]
    ended = interrupt_once_begun(arguments, out, "checkpoint.safetensors")
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        f"zotoolkit: interrupted; the checkpoint is written. Go on with: zotoolkit resume {out}"
    )
    assert "Traceback" not in ended.stderr
    assert 3 < load_state(out)[0]["run"]["iteration"] < 200
    assert not store.is_finished(out)

    assert main(["resume", str(out), "--no-progress"]) == 0
    assert "after 400 queries" in capsys.readouterr().out
    run_cell(Cell.read(out), tmp_path / "again")
    found, wanted = (store.read_frame(folder / store.CURVE_FILE) for folder in (out, tmp_path / "again"))
    pd.testing.assert_frame_equal(timeless(found), timeless(wanted), check_exact=True)


def test_ctrl_c_in_a_comparison_then_the_same_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = [*COMPARE, "--solvers", "CGE=ZO/SGD-CGE", "ZO/SPSA", "--budget", "400", "--jobs", "2"]
    arguments += ["--checkpoint-seconds", "0.05", "--out", str(out)]
    ended = interrupt_once_begun(arguments, out, "cells/*/*/*/checkpoint.safetensors")
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        f"zotoolkit: interrupted; the checkpoints are written. Go on with: zotoolkit resume {out}"
    )
    assert "Traceback" not in ended.stderr
    begun = list(out.glob("cells/*/*/*/checkpoint.safetensors"))
    assert any(0 < load_state(path.parent)[0]["run"]["iteration"] < 200 for path in begun)

    assert main([*arguments, "--parquet"]) == 0
    printed = capsys.readouterr()
    assert "* CGE" in printed.out
    assert f"report:   {out / 'report.html'}" in printed.out
    assert "[4/4]" in printed.err
    everything = grid.places(read_comparison(out)[0], tmp_path / "again")
    for place in everything:
        run_cell(place.cell, place.folder)
    found = store.read_frame(out / store.RESULTS_FILE)
    wanted = store.read_curves(place.folder for place in everything)
    pd.testing.assert_frame_equal(timeless(found), timeless(wanted), check_exact=True)
    assert len(pd.read_parquet(out / "results.parquet")) == len(found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["describe", "ZO/SPSA-v0"], "Step gain."),
        (["plot", "RESULTS"], "problem-a-queries.png"),
        (["report", "RESULTS"], "report.html"),
    ],
)
def test_the_other_sub_commands_as_processes(arguments: list[str], said: str, tmp_path: Path) -> None:
    write_comparison(tmp_path, seeds=2, problems=1)
    arguments = [str(tmp_path) if argument == "RESULTS" else argument for argument in arguments]
    ended = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=400, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert said in ended.stdout


def test_an_error_of_a_process_is_one_line() -> None:
    arguments = ["run", "Functions/Sphere", "--solver", "ZO/SPSA", "--budget", "0"]
    ended = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1


def test_a_reader_of_the_list_that_has_seen_enough_is_no_error() -> None:
    command = f"set -o pipefail; {sys.executable} -m zotoolkit.cli list | head -n 3"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=400, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "problems" in ended.stdout
