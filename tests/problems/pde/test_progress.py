"""How far something has come: told to a function, in a bar, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from problems.pde import progress
from zotoolkit.errors import InvalidSetting


def go(how: Any) -> None:
    with progress.shown(how, 3, "waves", unit=" frames") as tell:
        for done in (1, 3):
            tell(done)


def test_a_function_is_told() -> None:
    seen: list[tuple[int, int]] = []
    go(lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (3, 3)]


@pytest.mark.parametrize("how", [None, True])
def test_a_bar_appears_where_it_takes_long(
    how: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go(how)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    go(how)
    told = capsys.readouterr().err
    assert "waves" in told
    assert "3/3" in told
    go(False)
    assert capsys.readouterr().err == ""


def test_something_else_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="progress must be a function"):
        go("bar")
