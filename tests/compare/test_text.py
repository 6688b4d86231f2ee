"""Numbers and tables as text."""

from __future__ import annotations

from zotoolkit.compare.text import _telling


def test_a_terminal_shows_few_metrics() -> None:
    few = ["metric.a", "metric.b"]
    assert _telling(few) == few
    assert _telling([*few, "metric.c"]) == few
    assert _telling([*few, "metric.test_accuracy"]) == ["metric.test_accuracy"]
    many = ["metric.test_median_mae_32", "metric.test_blown_up", "metric.test_mae_100", "metric.test_mae_32"]
    assert _telling([*few, *many, "metric.test_mae_250"]) == [*many[1:], "metric.test_mae_250"]
