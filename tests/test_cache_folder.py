"""Where caches lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zotoolkit.cache_folder import cache_folder


def test_the_environment_names_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder("things") == tmp_path / "mine" / "things"
    assert (tmp_path / "mine" / "things").is_dir()


def test_a_folder_of_one_s_own_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="file"):
        cache_folder("things")


def test_the_platform_s_folder_and_a_temporary_one_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOTOOLKIT_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder("things") == tmp_path / "caches" / "zotoolkit" / "things"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = cache_folder("things")
    assert folder.is_dir()
    assert os.access(folder, os.W_OK)
    assert tmp_path / "file" not in folder.parents
