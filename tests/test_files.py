"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from zotoolkit import files
from zotoolkit.errors import CheckpointDamaged, CheckpointMissing, ResultsUnwritable


def test_a_file_takes_the_place_of_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "file"
    files.write_bytes(path, b"one")
    files.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_former_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"a": 1})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ResultsUnwritable, match="No space left on device"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path, "result") == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (
        lambda: files.write_bytes(tmp_path / "file" / "deeper", b""),
        lambda: files.check_writable(tmp_path / "file" / "deeper"),
    ):
        with pytest.raises(ResultsUnwritable, match="cannot write"):
            write()


def test_json_has_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": [1.0, float("nan")], "b": {"c": float("inf")}})
    assert files.read_json(tmp_path / "a.json", "table") == {"a": [1.0, None], "b": {"c": None}}


def test_json_that_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="holds no table"):
        files.read_json(tmp_path / "a.json", "table")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(CheckpointDamaged, match="it holds no table"):
        files.read_json(tmp_path / "a.json", "table")
