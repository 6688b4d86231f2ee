"""What the tests of this family share: no test reads or fills the user's cache."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the session's own, so that reference data are made once for all tests."""
    folder = tmp_path_factory.getbasetemp() / "zotoolkit-cache"
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(folder))
    return folder
