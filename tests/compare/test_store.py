"""Results on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from zotoolkit.compare import store
from zotoolkit.errors import CheckpointDamaged, CheckpointMissing, MissingExtra, ResultsUnwritable

ROWS = [
    {
        "queries": 0,
        "forward_equivalents": 0.0,
        "seconds": 0.0,
        "observed_best": np.nan,
        "noise_free_best": 1 / 3,
        "metric.b": 1.0,
        "metric.a": np.nan,
    },
    {
        "queries": 7,
        "forward_equivalents": 7.0,
        "seconds": 0.1 + 0.2,
        "observed_best": 5e-324,
        "noise_free_best": 1e300,
        "metric.b": 2.0,
        "metric.a": -0.0,
    },
]


def test_numbers_and_labels_are_read_back_exactly(tmp_path: Path) -> None:
    store.write_curve(tmp_path, ROWS, "None", 'a, "b"\nc', 3)
    found = store.read_frame(tmp_path / store.CURVE_FILE)
    assert list(found.columns) == [*store.COLUMNS, "metric.a", "metric.b"]
    wanted = store.curve_frame(ROWS, "None", 'a, "b"\nc', 3)
    pd.testing.assert_frame_equal(found, wanted, check_exact=True, check_dtype=False)


def test_only_finished_runs_count(tmp_path: Path) -> None:
    for name in ("one", "two"):
        store.write_curve(tmp_path / name, ROWS, "P", name, 0)
    store.write_result(tmp_path / "one", {"value": float("nan")})
    assert store.read_result(tmp_path / "one") == {"value": None}
    frame = store.read_curves([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    assert set(frame["solver"]) == {"one"}


def test_metrics_that_only_some_have_are_empty_elsewhere(tmp_path: Path) -> None:
    bare = [{name: value for name, value in row.items() if not name.startswith("metric")} for row in ROWS]
    for name, rows in (("one", ROWS), ("two", bare)):
        store.write_curve(tmp_path / name, rows, "P", name, 0)
        store.write_result(tmp_path / name, {})
    frame = store.read_curves([tmp_path / "two", tmp_path / "one"])
    assert store.metric_columns(frame) == ["metric.a", "metric.b"]
    assert frame.loc[frame["solver"] == "two", "metric.b"].isna().all()


@pytest.mark.parametrize("content", ["", "nonsense", "problem,solver\na,b\n", "\x00\x01"])
def test_a_file_that_is_no_results_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "curve.csv"
    path.write_text(content)
    with pytest.raises(CheckpointDamaged, match="no results file"):
        store.read_frame(path)


def test_results_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing):
        store.read_frame(tmp_path / "curve.csv")
    with pytest.raises(CheckpointMissing, match="holds no finished run"):
        store.read_result(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", "\udcff"])
def test_json_that_is_damaged(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointDamaged, match=r"result.json is damaged"):
        store.read_result(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsUnwritable, match="cannot write"):
        store.write_curve(tmp_path / "file", ROWS, "P", "S", 0)


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = store.curve_frame(ROWS, "P", "S", 0)
    store.export_parquet(frame, tmp_path / "results.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "results.parquet"), frame)


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"zotoolkit\[parquet\]"):
        store.export_parquet(store.curve_frame(ROWS, "P", "S", 0), tmp_path / "results.parquet")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_are_read_back_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    x = torch.randn(9, dtype=dtype, generator=torch.Generator().manual_seed(0))[::2]
    assert store.read_point(tmp_path) is None
    store.write_point(tmp_path, x.requires_grad_())
    found = store.read_point(tmp_path)
    assert found is not None
    assert found.dtype == dtype
    assert torch.equal(found, x.detach())


@pytest.mark.parametrize("cut", [0, 5, 60])
def test_a_point_that_is_cut_short(cut: int, tmp_path: Path) -> None:
    store.write_point(tmp_path, torch.ones(5))
    path = tmp_path / store.POINT_FILE
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointDamaged, match="is damaged"):
        store.read_point(tmp_path)
