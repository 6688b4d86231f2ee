"""Curves recorded while a run goes on."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import zotoolkit
from tests.compare.toy_problems import Quadratic
from zotoolkit.callbacks import Callback
from zotoolkit.checkpoint import load_state
from zotoolkit.compare.curve import CurveRecorder


def run(budget: int = 1000, **options: Any) -> list[dict[str, float]]:
    recorder = CurveRecorder()
    solver = zotoolkit.make_solver("ZO/SPSA-v0")
    zotoolkit.minimize(Quadratic(**options), solver, budget=budget, callbacks=[recorder], progress=False)
    recorder.finish()
    return recorder.rows


def test_points_are_log_spaced_from_the_start_to_the_end() -> None:
    rows = run()
    queries = [int(row["queries"]) for row in rows]
    assert queries[0] == 0
    assert queries[-1] == 1000
    assert queries == sorted(set(queries))
    last_decade = [count for count in queries if 100 < count <= 1000]
    assert 20 <= len(last_decade) <= 21


def test_the_columns_say_what_they_promise() -> None:
    rows = run(noise=0.3)
    assert math.isnan(rows[0]["observed_best"])
    assert rows[0]["noise_free_best"] == 12.0
    assert rows[0]["metric.distance"] == pytest.approx(math.sqrt(12))
    best = [row["noise_free_best"] for row in rows]
    assert best == sorted(best, reverse=True)
    assert all(row["forward_equivalents"] == row["queries"] for row in rows)
    # Under noise the lowest observed loss lies below every true one.
    assert rows[-1]["observed_best"] < 0 < rows[-1]["noise_free_best"]


def test_without_a_known_truth_the_column_is_empty() -> None:
    rows = run(budget=100, truth=False)
    assert all(math.isnan(row["noise_free_best"]) for row in rows)
    assert rows[-1]["queries"] == 100


def test_what_is_measured_at_the_end_stands_in_the_last_row() -> None:
    recorder = CurveRecorder()
    solver = zotoolkit.make_solver("ZO/SPSA-v0")
    zotoolkit.minimize(Quadratic(), solver, budget=50, callbacks=[recorder], progress=False)
    recorder.finish({"distance": 2, "test_accuracy": 0.5})
    assert recorder.rows[-1]["metric.test_accuracy"] == 0.5
    assert recorder.rows[-1]["metric.distance"] == 2.0
    assert all("metric.test_accuracy" not in row for row in recorder.rows[:-1])


def test_evaluations_cost_neither_queries_nor_seconds() -> None:
    class Slow(Quadratic):
        def noise_free(self, x: torch.Tensor) -> torch.Tensor | None:
            time.sleep(0.05)
            return super().noise_free(x)

    recorder = CurveRecorder()
    objective = Slow()
    result = zotoolkit.minimize(
        objective, zotoolkit.make_solver("ZO/SGD-CGE-v0"), budget=40, callbacks=[recorder], progress=False
    )
    recorder.finish()
    assert objective.queries == result.queries == 40
    assert recorder.evaluation_seconds >= 0.05 * len(recorder.rows)
    assert recorder.rows[-1]["seconds"] == result.seconds


class _StopOnce(Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_iteration(self, run: zotoolkit.Run) -> None:
        if run.iteration == self.at:
            raise KeyboardInterrupt


def test_an_interrupted_run_has_the_same_curve(tmp_path: Path) -> None:
    whole = run(budget=500, noise=0.1)
    for at in (1, 37, 101):
        folder = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            zotoolkit.minimize(
                Quadratic(noise=0.1),
                zotoolkit.make_solver("ZO/SPSA-v0"),
                budget=500,
                callbacks=[CurveRecorder(), _StopOnce(at)],
                progress=False,
                checkpoint=folder,
            )
        assert load_state(folder)[0]["run"]["iteration"] == at
        recorder = CurveRecorder()
        zotoolkit.minimize(
            Quadratic(noise=0.1),
            zotoolkit.make_solver("ZO/SPSA-v0"),
            budget=500,
            callbacks=[recorder, _StopOnce(-1)],
            progress=False,
            checkpoint=folder,
            resume=True,
        )
        recorder.finish()
        assert [_timeless(row) for row in recorder.rows[1:]] == [_timeless(row) for row in whole[1:]]


def _timeless(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


def test_a_recorder_without_a_run_says_so() -> None:
    with pytest.raises(RuntimeError, match="callbacks of a run"):
        CurveRecorder().finish()


def test_per_decade_must_be_positive() -> None:
    with pytest.raises(zotoolkit.ZotoolkitError, match="per_decade"):
        CurveRecorder(per_decade=0)
