"""Named comparisons, each a JSON file in this folder: what `zotoolkit compare --suite NAME` runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zotoolkit.errors import UnknownId, did_you_mean

_FOLDER = Path(__file__).parent


def suite_names() -> list[str]:
    """Return the names of all suites.

    Examples:
        >>> suite_names()
        ['demo', 'functions', 'pde']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def suite(name: str) -> dict[str, Any]:
    """Return a suite's specification, in the form of a specification file.

    Raises:
        UnknownId: If there is no such suite.
    """
    if name not in suite_names():
        known = ", ".join(suite_names())
        raise UnknownId(f"no suite {name!r}; suites: {known}.{did_you_mean(name, suite_names())}")
    return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
