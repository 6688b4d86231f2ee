"""What the tests watch: processes, and things to come."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what a process was started for")


def working_in(folder: Path) -> list[int]:
    """Processes whose working directory lies, or lay, in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            where = str(link.readlink())
        except OSError:
            continue
        if where.startswith(f"{folder}/"):
            found.append(int(link.parent.name))
    return found


def until(condition: Any, seconds: float = 30.0) -> bool:
    begun = time.monotonic()
    while not condition() and time.monotonic() - begun < seconds:
        time.sleep(0.02)
    return bool(condition())


def actions(*what: int) -> torch.Tensor:
    return torch.tensor([[float(number)] for number in what])
