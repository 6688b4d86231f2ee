"""What a person sees while a comparison runs."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from zotoolkit.compare.cell import Cell
from zotoolkit.compare.display import Display
from zotoolkit.compare.grid import Place
from zotoolkit.compare.specification import Entry

PLACES = [
    Place(Cell(Entry("P/P-v0", label="P"), Entry("S/S-v0", label="S"), seed, 1000), Path(str(seed)))
    for seed in range(3)
]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(display: Display) -> None:
    """Three cells: one from the start, one continued at 400 queries that ends early, one that fails."""
    display.progress(PLACES[0], 0)
    display.progress(PLACES[0], 300)
    display.progress(PLACES[1], 400)
    display.done(PLACES[0], 1000, 0.5)
    display.done(PLACES[1], 600, None)
    display.progress(PLACES[2], 0)
    display.failed(PLACES[2], "out of luck\nTraceback ...")
    display.close()


def test_a_terminal_gets_a_bar_whose_end_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    display = Display(cells=5, todo=3, budget=1000)
    show(display)
    # 1000 of the first, 200 of the second, which had spent 400 before and left 400 unspent, none of the third.
    assert (display._bar.n, display._bar.total) == (1200, 1200)
    assert "4/5 cells, 1 failed: 100%" in terminal.getvalue()
    assert "failed: P / S / seed 2: out of luck\n" in terminal.getvalue()


def test_elsewhere_each_cell_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(Display(cells=5, todo=3, budget=1000))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("[3/5] P / S / seed 0: 0.5 (")
    assert lines[1].startswith("[4/5] P / S / seed 1: no loss (")
    assert lines[2:] == ["failed: P / S / seed 2: out of luck"]


def test_without_progress_only_failures_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    show(Display(cells=5, todo=3, budget=1000, shown=False))
    assert capsys.readouterr().err.splitlines() == ["failed: P / S / seed 2: out of luck"]
