"""Comparisons in processes: killed, interrupted, repeated, refused."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from zotoolkit.checkpoint import load_state
from zotoolkit.compare import grid, runner, store
from zotoolkit.compare.cell import Cell, run_cell
from zotoolkit.compare.results import load_results
from zotoolkit.compare.runner import run_comparison
from zotoolkit.compare.specification import Comparison
from zotoolkit.compare.suites import suite, suite_names
from zotoolkit.compare.worker import _Log
from zotoolkit.errors import (
    CheckpointDamaged,
    CheckpointMismatch,
    CheckpointVersion,
    InvalidSetting,
    ResultsUnwritable,
    UnknownId,
)

TOYS = str(Path(__file__).with_name("toy_problems.py"))


def comparison(**changes: Any) -> Comparison:
    given = {
        "problems": ["Quad=Toy/Quadratic:noise=0.1"],
        "solvers": ["CGE=ZO/SGD-CGE", "ZO/SPSA"],
        "budget": 200,
        "seeds": 2,
        "imports": [TOYS],
    }
    return Comparison.from_dict({**given, **changes})


def timeless(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="seconds")


def undisturbed(wanted: Comparison, folder: Path) -> pd.DataFrame:
    """Return the results of the same cells, run one after another in this process."""
    everything = grid.places(wanted, folder)
    for place in everything:
        run_cell(place.cell, place.folder)
    return store.read_curves(place.folder for place in everything)


def test_a_killed_worker_fails_its_cell_alone_and_a_rerun_completes(tmp_path: Path, capsys: Any) -> None:
    marker = tmp_path / "died"
    deadly = f"Deadly=Toy/Quadratic:die_at=20,seconds=0.01,marker={marker}"
    wanted = comparison(problems=["Quad=Toy/Quadratic:noise=0.1", deadly], seeds=1, checkpoint_seconds=0.03)
    first = run_comparison(wanted, tmp_path / "out", jobs=2)
    assert marker.exists()
    assert (first.finished, first.cells) == (3, 4)
    (dead,) = first.failures
    assert dead.cell.problem.label == "Deadly"
    assert dead.error is not None
    assert "SIGKILL" in dead.error["message"]
    assert 1 <= load_state(dead.folder)[0]["run"]["iteration"] <= 20
    assert f"failed: {dead.name}" in capsys.readouterr().err
    # The report knows of it.
    assert [place.name for place in load_results(tmp_path / "out").failures] == [dead.name]

    second = run_comparison(wanted, tmp_path / "out", jobs=2, progress=False)
    assert (second.finished, second.failures) == (4, [])
    assert capsys.readouterr().err == ""
    pd.testing.assert_frame_equal(
        timeless(second.frame), timeless(undisturbed(wanted, tmp_path / "again")), check_exact=True
    )
    merged = store.read_frame(tmp_path / "out" / store.RESULTS_FILE)
    pd.testing.assert_frame_equal(merged, second.frame, check_exact=True)
    assert not list((tmp_path / "out").rglob("checkpoint*"))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Return the folder of a comparison whose cells have run in this process."""
    folder = tmp_path / "finished"
    undisturbed(comparison(), folder)
    return folder


def test_what_is_finished_is_not_run_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "Pool", None)
    outcome = run_comparison(comparison(), finished)
    assert (outcome.finished, outcome.failures) == (4, [])


def test_another_comparison_in_the_same_folder_is_refused(finished: Path) -> None:
    run_comparison(comparison(), finished)
    with pytest.raises(CheckpointMismatch, match="budget 300 instead of 200"):
        run_comparison(comparison(budget=300), finished)
    with pytest.raises(CheckpointMismatch, match="with ZO/SGD-RGE-v0"):
        run_comparison(comparison(solvers=["CGE=ZO/SGD-CGE", "ZO/SPSA", "ZO/SGD-RGE"]), finished)
    assert run_comparison(comparison(title="a title may change"), finished).finished == 4
    assert load_results(finished).comparison.title == "a title may change"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_second_comparison_in_the_same_folder_is_kept_out(finished: Path) -> None:
    with runner._locked(finished), pytest.raises(ResultsUnwritable, match="another comparison is running"):
        run_comparison(comparison(), finished)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solvers": ["ZO/SGD-CGE:lr=-1"]}, "lr must be a finite number above 0"),
        ({"problems": ["Toy/Quadratic:dim=0"]}, "dim must be a positive integer"),
        ({"problems": ["Toy/Quadratic:dim=many"]}, "dim must be a positive integer"),
        ({"device": "gpu"}, "device must be"),
        ({"device": "cuda"}, "is not available here|runs on the CPU only"),
    ],
)
def test_settings_that_cannot_be_used_are_known_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_comparison(comparison(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsUnwritable, match="Choose another folder"):
        run_comparison(comparison(), tmp_path / "file" / "out")


@pytest.mark.parametrize("jobs", [0, -1])
def test_jobs_must_be_positive(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(InvalidSetting, match="jobs must be"):
        run_comparison(comparison(), tmp_path, jobs=jobs)


def test_a_damaged_header_is_said(finished: Path) -> None:
    run_comparison(comparison(), finished)
    path = finished / runner.COMPARISON_FILE
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(CheckpointDamaged, match=r"comparison\.json is damaged"):
        run_comparison(comparison(), finished)
    path.write_text(whole.replace('"format": 1', '"format": 99'))
    with pytest.raises(CheckpointVersion, match="format 99"):
        run_comparison(comparison(), finished)


def test_a_log_whose_folder_was_removed_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    with _Log(folder / "log.txt"):
        shutil.rmtree(folder)


def test_only_a_log_with_something_in_it_stays(tmp_path: Path) -> None:
    for text in ("", "a line\n"):
        with _Log(tmp_path / "log.txt"):
            os.write(2, text.encode())
        assert (tmp_path / "log.txt").exists() == bool(text)


def test_a_cell_says_what_it_is(tmp_path: Path) -> None:
    cell = grid.places(comparison(), tmp_path)[0].cell
    assert Cell.from_dict(cell.to_dict()) == cell
    with pytest.raises(CheckpointVersion):
        Cell.from_dict({})
    with pytest.raises(CheckpointDamaged, match="no 'solver'"):
        Cell.from_dict({"format": 1, "problem": {"id": "Toy/Quadratic-v0"}})


def test_suites_are_specifications() -> None:
    assert suite_names() == ["demo", "functions", "pde"]
    with pytest.raises(UnknownId, match="Did you mean 'functions'"):
        suite("function")
    for name in suite_names():
        given = suite(name)
        assert {"problems", "solvers", "budget", "seeds"} <= set(given)
