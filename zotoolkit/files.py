"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from zotoolkit.errors import CheckpointDamaged, CheckpointMissing, ResultsUnwritable


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in place of the former one, atomically; its folder is made if it is not there.

    Raises:
        ResultsUnwritable: If it cannot be written; the former file stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ResultsUnwritable(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another folder."
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically; NaN and infinities become null, which is all that JSON has for them.

    Raises:
        ResultsUnwritable: If it cannot be written.
    """
    write_bytes(path, (json.dumps(_finite(content), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON file that holds a table.

    Args:
        path: The file.
        what: What it is, for messages: "a run".

    Raises:
        CheckpointMissing: If it is not there.
        CheckpointDamaged: If it is no JSON table.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointMissing(f"{path.parent} holds no {what}: there is no {path.name}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointDamaged(f"{path} is damaged ({error}); restore it from a copy or start anew.") from error
    if not isinstance(content, dict):
        raise CheckpointDamaged(f"{path} is damaged (it holds no table); restore it from a copy or start anew.")
    return content


def check_writable(folder: Path) -> None:
    """Make the folder and see whether a file can be written there.

    Raises:
        ResultsUnwritable: If not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ResultsUnwritable(
            f"cannot write into the folder {folder}: {error.strerror or error}. Choose another folder."
        ) from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
