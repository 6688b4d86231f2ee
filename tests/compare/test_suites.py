"""Named comparisons: what they name is there, and the training modes of correctors are compared by one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zotoolkit.cli import main
from zotoolkit.compare import store
from zotoolkit.compare.cell import check_entry
from zotoolkit.compare.drawings import read_drawings
from zotoolkit.compare.results import load_results
from zotoolkit.compare.specification import Comparison
from zotoolkit.compare.suites import suite, suite_names


@pytest.mark.parametrize("name", suite_names())
def test_every_solver_of_a_suite_can_be_made(name: str) -> None:
    for entry in Comparison.from_dict(suite(name)).solvers:
        check_entry(entry)


def test_training_modes_get_the_same_windows_or_say_what_differs() -> None:
    comparison = Comparison.from_dict(suite("pde"))
    for entry in comparison.solvers:
        iterations = entry.settings.get("iterations")
        assert iterations in (None, 300) or f"{iterations} iterations" in entry.label
    # Both kinds of queries on all 278 parameters of the wake's corrector get to their last iteration.
    assert comparison.budget > 300 * 279
    assert [entry.label for entry in comparison.solvers if entry.reference] == ["FO-SOL"]


def test_training_modes_are_compared_in_one_command(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path_factory.getbasetemp() / "zotoolkit-cache"))
    given = Comparison.from_dict(suite("pde")).to_dict()
    small = {"resolution": 16, "factor": 2, "frames": 12, "spin_up": 3}
    for problem in given["problems"]:
        problem["settings"] |= small if "Wake" in problem["id"] else {}
    # Three of them will do: the others have tests of their own.
    given["solvers"] = [entry for entry in given["solvers"] if entry["label"] in ("SRC", "ZO-SOL by CGE", "FO-SOL")]
    for solver in given["solvers"]:
        solver["settings"] |= {"iterations": 2} if solver["settings"] else {}
    (tmp_path / "spec.json").write_text(json.dumps({**given, "seeds": 1, "budget": 1000}))
    out = tmp_path / "out"
    assert main(["compare", str(tmp_path / "spec.json"), "--out", str(out), "--jobs", "1", "--no-progress"]) == 0
    drawings = read_drawings(out)
    assert drawings is not None
    assert [picture.name for picture in drawings["Wake flow"]] == [
        "error-over-time",
        "relative-error-over-time",
        "vorticity",
        "animation",
    ]
    assert [picture.name for picture in drawings["Kuramoto-Sivashinsky"]][2:] == ["space-time", "spectrum"]
    last = load_results(out).table
    assert store.select(last, problem="Wake flow")["metric.test_mae_11"].notna().all()
    assert store.select(last, problem="Kuramoto-Sivashinsky")["metric.test_valid_time"].gt(0).all()
    page = (out / "report.html").read_text()
    assert page.count("<img") == 8
    assert "data:image/gif" in page
