"""Compiling the passes: once, for this processor, and without harm where it fails."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from zotoolkit.engines.native import build

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_it_is_compiled_once(own_cache: Path) -> None:
    first = build._built()
    made = first.stat().st_mtime_ns
    assert build._built() == first
    assert first.stat().st_mtime_ns == made
    assert [path.name for path in (own_cache / "native").iterdir()] == [first.name]


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_a_compiler_without_openmp_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picky = tmp_path / "picky"
    picky.write_text(f'#!/bin/sh\nfor each in "$@"; do [ "$each" = -fopenmp ] && exit 1; done\nexec {COMPILER} "$@"\n')
    picky.chmod(0o755)
    monkeypatch.setenv("CXX", str(picky))
    assert build._built().exists()


@pytest.mark.parametrize("script", ["exit 1", "echo 1.0; [ $1 = --version ] || { echo no good >&2; exit 1; }"])
def test_a_compiler_that_fails_is_named_once(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        assert build.library.__wrapped__() is None
    assert len(caplog.records) == 1
    assert "run unfused" in caplog.text
    assert "broken failed" in caplog.text


def test_no_compiler_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        assert build.library.__wrapped__() is None
    assert "no C++ compiler" in caplog.text
