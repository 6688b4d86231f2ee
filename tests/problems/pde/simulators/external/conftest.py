"""A folder for cases that has to be empty again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.problems.pde.simulators.external.watching import until, working_in


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for cases, which holds none after the test, and in which no process works then."""
    folder = tmp_path / "cases"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []
    assert until(lambda: not working_in(folder))
