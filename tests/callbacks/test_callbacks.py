"""Callbacks: what they keep, when they stop a run, what TensorBoard can read."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

import zotoolkit
from zotoolkit import EarlyStop, History, Reason, TensorBoard, minimize
from zotoolkit.errors import InvalidSetting, MissingExtra


def parabola() -> zotoolkit.BlackBoxObjective:
    return zotoolkit.from_callable(lambda x: float(((x - 1) ** 2).sum()), dim=3)


def test_history_keeps_a_row_every_few_iterations() -> None:
    history = History(every=3)
    minimize(parabola(), zotoolkit.make_solver("ZO/SGD-CGE-v0"), budget=41, callbacks=[history], progress=False)
    assert [row["iteration"] for row in history.rows] == [3, 6, 9]
    assert [row["queries"] for row in history.rows] == [12, 24, 36]
    assert history.rows[0].keys() >= {"loss", "lr", "gradient_norm", "missing", "seconds", "best_value"}
    losses = [row["best_value"] for row in history.rows]
    assert losses == sorted(losses, reverse=True)


def test_early_stop_waits_as_many_queries_as_asked() -> None:
    flat = zotoolkit.from_callable(lambda x: 1.0, dim=3)
    result = minimize(
        flat, zotoolkit.make_solver("ZO/SGD-CGE-v0"), budget=1000, callbacks=[EarlyStop(patience=40)], progress=False
    )
    assert result.reason is Reason.STOPPED
    # The first batch of 4 sets the reference; 40 queries later the run ends. The last query is the recommendation's.
    assert result.queries - 44 in (0, 1)


def test_early_stop_counts_only_improvements_of_the_least_size() -> None:
    slow = zotoolkit.from_callable(lambda x: float(abs(x).sum()), dim=1, x0=[5.0])
    stop = EarlyStop(patience=20, least=10.0)
    result = minimize(slow, zotoolkit.make_solver("ZO/SGD-CGE-v0"), budget=1000, callbacks=[stop], progress=False)
    assert result.reason is Reason.STOPPED
    assert result.queries < 30


@pytest.mark.parametrize(
    "make",
    [
        lambda: History(every=0),
        lambda: EarlyStop(0),
        lambda: EarlyStop(5, least=-1.0),
        lambda: EarlyStop(5, float("nan")),
    ],
)
def test_bad_settings(make: Any) -> None:
    with pytest.raises(InvalidSetting):
        make()


def test_tensorboard_can_be_read_back(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    objective = zotoolkit.make("Functions/Sphere-v0", dim=3)
    minimize(
        objective,
        zotoolkit.make_solver("ZO/SGD-CGE-v0"),
        budget=40,
        callbacks=[TensorBoard(tmp_path, every=2)],
        progress=False,
    )
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"solver/loss", "solver/gradient_norm", "run/best_value"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("solver/loss")] == [8, 16, 24, 32, 40]


def test_without_tensorboard_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if "tensorboard" in name:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match="zotoolkit\\[tensorboard\\]"):
        TensorBoard("anywhere")
