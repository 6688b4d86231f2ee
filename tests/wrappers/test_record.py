"""Record, besides what all wrappers promise."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import zotoolkit
from zotoolkit import BudgetLimit, CoordinateBatch, Record, SeededBatch, read_record
from zotoolkit.errors import InvalidSetting, MissingExtra, ResultsUnwritable
from zotoolkit.wrappers import record_files

ENDINGS = ("csv", "parquet")


@pytest.fixture(params=ENDINGS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / "sub" / f"record.{request.param}"


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond the limit: writes stop in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_row_says(path: Path, spy: Any, batches: Any) -> None:
    inner = spy(fails=lambda attempt: attempt == 1, blank=lambda attempt: attempt == 2)
    objective = BudgetLimit(inner, 13)
    objective = Record(objective, path)
    objective.reset(seed=0)
    answers = [objective.step(batches[kind](context=i))[0] for i, kind in enumerate(("coordinate", "seeded", "dense"))]
    table = read_record(path)
    assert list(table.columns) == list(record_files.COLUMNS)
    assert table["run"].tolist() == [0] * 15
    assert table["step"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert table["size"].tolist() == [5] * 15
    assert table["context"].tolist() == table["step"].tolist()
    assert table["query"].tolist() == list(range(5)) * 3
    np.testing.assert_array_equal(table["value"], torch.cat(answers).numpy())
    assert table["status"].tolist() == ["OK", "FAILED", "NON_FINITE"] + ["OK"] * 10 + ["SKIPPED"] * 2
    assert table["kind"].tolist() == ["coordinate"] * 5 + ["seeded"] * 5 + ["dense"] * 5
    scale = torch.cat([batches[kind]().scale for kind in ("coordinate", "seeded", "dense")])
    np.testing.assert_array_equal(table["scale"], scale.numpy())
    assert table["coordinate"].dropna().tolist() == [0, 1, 2, 3, 4]
    assert table["seed"].dropna().tolist() == [10, 11, 12, 13, 14]
    assert table["law"].dropna().tolist() == ["rademacher"] * 5
    assert table["error"].dropna().tolist() == ["attempt 1 failed"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_points_come_back_to_the_bit(path: Path, dtype: str, spy: Any, batches: Any) -> None:
    objective = Record(spy(dtype=dtype), path, points=True)
    points = []
    for kind in ("dense", "coordinate", "seeded"):
        batch = batches[kind](dtype=objective.dtype)
        objective.step(batch)
        points.append(batch.points())
    table = read_record(path)
    if path.suffix == ".csv":
        read = table[[f"x{i}" for i in range(6)]].to_numpy()
    else:
        read = np.stack(table["x"].to_list())
        assert read.dtype == dtype
    np.testing.assert_array_equal(read, torch.cat(points).numpy())


def test_values_and_seeds_come_back_to_the_bit(path: Path, spy: Any) -> None:
    objective = Record(spy(), path)
    seed = torch.tensor([2**63 - 1, -(2**63), 2**53 + 1, 0])
    scale = torch.tensor([0.1, 1 / 3, 1e-300, 1e300], dtype=torch.float64)
    batch = SeededBatch(base=torch.zeros(6, dtype=torch.float64), scale=scale, seed=seed, law="normal")
    values = objective.step(batch)[0]
    table = read_record(path)
    assert table["seed"].tolist() == seed.tolist()
    np.testing.assert_array_equal(table["scale"], scale.numpy())
    np.testing.assert_array_equal(table["value"], values.numpy())
    assert table["status"].tolist() == ["OK", "OK", "OK", "NON_FINITE"]


def test_other_programs_read_it(path: Path, spy: Any, batches: Any) -> None:
    objective = Record(spy(), path, points=True)
    for context in range(150):  # more than once through the merging of parts
        objective.step(batches["coordinate"](context=context))
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    assert table["context"].tolist() == [context for context in range(150) for _ in range(5)]


def test_parts_are_merged(tmp_path: Path, spy: Any, batches: Any) -> None:
    path = tmp_path / "record.parquet"
    objective = Record(spy(), path)
    for context in range(200):
        objective.step(batches["coordinate"](context=context))
    assert len(list(path.iterdir())) == 200 // 64 + 200 % 64
    assert read_record(path)["step"].tolist() == [step for step in range(200) for _ in range(5)]


def test_a_kill_between_merging_and_deleting_doubles_nothing(tmp_path: Path, spy: Any, batches: Any) -> None:
    path = tmp_path / "record.parquet"
    objective = Record(spy(), path)
    for context in range(63):
        objective.step(batches["coordinate"](context=context))
    singles = {part.name: part.read_bytes() for part in path.iterdir()}
    objective.step(batches["coordinate"](context=63))
    (merged,) = path.iterdir()
    for name, content in singles.items():
        (path / name).write_bytes(content)
    (path / ".unfinished").write_bytes(b"half a part")
    assert read_record(path)["step"].tolist() == [step for step in range(64) for _ in range(5)]
    again = Record(spy(), path, append=True)
    assert [part.name for part in path.iterdir()] == [merged.name]
    again.step(batches["coordinate"]())
    assert len(read_record(path)) == 65 * 5


def test_resets_are_runs(path: Path, spy: Any, batches: Any) -> None:
    objective = Record(spy(), path)
    objective.reset(seed=0)
    objective.reset(seed=1)  # nothing was asked, so this is still run 0
    for _ in range(2):
        objective.step(batches["coordinate"]())
        objective.reset()
    table = read_record(path)
    assert table["run"].tolist() == [0] * 5 + [1] * 5
    assert table["step"].tolist() == [0] * 10


def test_a_record_that_is_there_is_not_overwritten(path: Path, spy: Any, batches: Any) -> None:
    Record(spy(), path).step(batches["coordinate"]())
    with pytest.raises(InvalidSetting, match="holds a record already; pass append=True"):
        Record(spy(), path)
    Record(spy(), path, append=True).step(batches["coordinate"]())
    assert read_record(path)["run"].tolist() == [0] * 5 + [1] * 5
    with pytest.raises(InvalidSetting, match="other columns"):
        Record(spy(), path, append=True, points=True)
    assert len(read_record(path)) == 10


def test_a_resumed_run_leaves_each_step_once(path: Path, tmp_path: Path, spy: Any) -> None:
    def run(budget: int, resume: bool) -> zotoolkit.Result:
        objective = Record(spy(), path, append=resume)
        solver = zotoolkit.make_solver("ZO/SGD-RGE-v0")
        result = zotoolkit.minimize(
            objective, solver, budget=budget, seed=1, progress=False, checkpoint=tmp_path / "run", resume=resume
        )
        objective.close()
        return result

    result = run(500, resume=False)
    rows = len(read_record(path))
    assert int((read_record(path)["status"] != "SKIPPED").sum()) == result.queries
    # The last checkpoint is that of the last iteration; an older one makes the resumed run do some steps again.
    objective = Record(spy(), path, append=True)
    objective.reset(seed=1)
    objective.load_state_dict({**objective.state_dict(), "run": 0, "step": 2})
    base = torch.zeros(6, dtype=torch.float64)
    size = int(read_record(path).query("step == 2")["size"].iloc[0])
    batch = CoordinateBatch(
        base=base, scale=torch.ones(size, dtype=torch.float64), index=torch.arange(size) % 6, context=77
    )
    objective.step(batch)
    table = read_record(path)
    assert len(table) == rows
    assert set(table.loc[table["step"] == 2, "context"]) == {77}


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_csv(cut: int, tmp_path: Path, spy: Any, batches: Any) -> None:
    path = tmp_path / "record.csv"
    objective = Record(spy(), path)
    for context in range(3):
        objective.step(batches["coordinate"](context=context))
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_record(path)["step"].tolist() == [0] * 5 + [1] * 5
    Record(spy(), path, append=True).step(batches["coordinate"]())
    table = read_record(path)
    assert table["run"].tolist() == [0] * 10 + [1] * 5


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_kill_loses_no_step_that_was_answered(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"record.{ending}"
    script = Path(__file__).with_name("killed_record.py")
    command = [sys.executable, str(script), str(path), str(tmp_path / "log"), "7"]
    answered = int(subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout)
    table = read_record(path)
    steps = table.groupby(["run", "step"]).size()
    assert set(steps) == {300}
    # Each process may have been killed between writing a step and saying so.
    assert answered <= len(steps) <= answered + 8
    for _, run in table.groupby("run"):
        assert run["step"].tolist() == sorted(run["step"])
        assert run["step"].nunique() == run["step"].max() + 1


def test_a_disk_that_fills_up_costs_no_query_and_no_row(path: Path, spy: Any, batches: Any) -> None:
    inner = spy()
    record = Record(inner, path, points=True)
    objective = BudgetLimit(record, 300)
    objective.reset(seed=0)
    objective.step(batches["dense"](2))
    batch = batches["seeded"](200)
    expected = spy().loss(batch.points(), 3)
    with full_disk(2000):
        with pytest.raises(ResultsUnwritable, match=r"cannot write .*: .*File too large\. Free space or choose"):
            objective.step(batch)
        assert len(read_record(path)) == 2
        with pytest.raises(ResultsUnwritable):  # the same again, without asking anything
            objective.step(batches["dense"](3))
        with pytest.raises(ResultsUnwritable):
            objective.reset()
        with pytest.raises(ResultsUnwritable):
            objective.close()
        assert inner.closed
    assert inner.asked == 202
    values, _, _, info = objective.step(batch)
    assert torch.equal(values, expected)
    assert inner.asked == 202
    assert info["queries"] == 200
    assert objective.queries == 202
    assert objective.remaining == 98
    table = read_record(path)
    assert table["step"].tolist() == [0] * 2 + [1] * 200
    np.testing.assert_array_equal(table["value"].iloc[2:], expected.numpy())


def test_close_writes_what_waits(path: Path, spy: Any, batches: Any) -> None:
    objective = Record(spy(), path)
    with full_disk(2000), pytest.raises(ResultsUnwritable):
        objective.step(batches["seeded"](200))
    objective.close()
    assert len(read_record(path)) == 200


def test_another_batch_after_a_full_disk(path: Path, spy: Any, batches: Any) -> None:
    inner = spy()
    objective = Record(inner, path)
    with full_disk(2000), pytest.raises(ResultsUnwritable):
        objective.step(batches["seeded"](200))
    objective.step(batches["dense"](3))
    assert inner.asked == 203
    assert read_record(path)["kind"].tolist() == ["seeded"] * 200 + ["dense"] * 3


def test_an_interrupt_while_writing_leaves_no_torn_step(
    path: Path, spy: Any, batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = Record(spy(), path)
    objective.step(batches["dense"](2))
    block = Record._block
    monkeypatch.setattr("zotoolkit.wrappers.record._BLOCK_ROWS", 4)

    def interrupted(self: Record, batch: Any, values: Any, info: Any, start: int) -> Any:
        if start:
            raise KeyboardInterrupt
        return block(self, batch, values, info, start)

    monkeypatch.setattr(Record, "_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        objective.step(batches["dense"](9))
    assert len(read_record(path)) == 2
    monkeypatch.setattr(Record, "_block", block)
    objective.close()
    assert len(read_record(path)) == 11


def test_blocks_change_nothing(path: Path, spy: Any, batches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zotoolkit.wrappers.record._BLOCK_ROWS", 4)
    inner = spy(fails=lambda attempt: attempt == 6)
    Record(inner, path, points=True).step(batches["seeded"](9))
    table = read_record(path)
    assert table["query"].tolist() == list(range(9))
    assert table["error"].isna().tolist() == [row != 6 for row in range(9)]
    points = table[[f"x{i}" for i in range(6)]].to_numpy() if path.suffix == ".csv" else np.stack(table["x"].to_list())
    np.testing.assert_array_equal(points, batches["seeded"](9).points().numpy())


def test_a_folder_that_cannot_be_made(tmp_path: Path, spy: Any) -> None:
    (tmp_path / "file").write_text("")
    for ending in ENDINGS:
        with pytest.raises(ResultsUnwritable, match=r"cannot write .*(File exists|Not a directory)"):
            Record(spy(), tmp_path / "file" / f"record.{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_read_only_disk(ending: str, tmp_path: Path, spy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root may write into any folder, the disk's refusal is imitated."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(ResultsUnwritable, match=r"cannot write .*Read-only file system"):
        Record(spy(), tmp_path / f"record.{ending}")


def test_a_record_that_was_taken_away(tmp_path: Path, spy: Any, batches: Any) -> None:
    path = tmp_path / "record.csv"
    objective = Record(spy(), path)
    path.unlink()
    with pytest.raises(ResultsUnwritable, match="No such file"):
        objective.step(batches["dense"]())


def test_parquet_without_pyarrow(tmp_path: Path, spy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zotoolkit\[parquet\]', or give a path that ends in \.csv"):
        Record(spy(), tmp_path / "record.parquet")
    with pytest.raises(MissingExtra):
        read_record(tmp_path / "record.parquet")
    Record(spy(), tmp_path / "record.csv")


def test_no_record_to_read(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(path)


@pytest.mark.parametrize(
    ("path_", "settings", "message"),
    [
        ("record.txt", {}, r"path must end in \.csv or \.parquet, got 'record\.txt'"),
        ("record", {}, "path must end in"),
        (3, {}, r"path must be a path .* got 3 \(int\)"),
        ("record.csv", {"points": 1}, "points must be True or False"),
        ("record.csv", {"append": None}, "append must be True or False"),
    ],
)
def test_wrong_settings(path_: Any, settings: Any, message: str, spy: Any) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Record(spy(), path_, **settings)


def test_too_many_columns(tmp_path: Path, spy: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"1000 at most, got d=1001; record to \.parquet"):
        Record(spy(dim=1001), tmp_path / "record.csv", points=True)
    Record(spy(dim=1001), tmp_path / "record.csv")
    Record(spy(dim=1001), tmp_path / "record.parquet", points=True)
