"""Checkpoints: one safetensors file with its JSON inside, replaced atomically. No pickle anywhere.

The file's tensors are the state's tensors; the file's text metadata holds the state's skeleton, the header (what run
this is) and a digest over all of it. A reader sees the old checkpoint or the new one, never half of either.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zotoolkit.errors import (
    CheckpointDamaged,
    CheckpointMismatch,
    CheckpointMissing,
    CheckpointVersion,
    InvalidSetting,
    ResultsUnwritable,
    brief,
)

FORMAT = 1
FILE_NAME = "checkpoint.safetensors"


def has_checkpoint(folder: str | Path) -> bool:
    """Whether the folder holds a checkpoint."""
    return (Path(folder) / FILE_NAME).is_file()


def save_state(folder: str | Path, state: dict[str, Any], header: dict[str, Any]) -> Path:
    """Write a checkpoint in place of the folder's former one.

    Args:
        folder: Made if it is not there.
        state: Nested dicts, lists and tuples of tensors, numbers, texts, booleans and None.
        header: Says which run this is; the same kinds without tensors.

    Returns:
        The file's path.

    Raises:
        ResultsUnwritable: If the folder cannot be written or the disk is full; the former checkpoint stays.
        InvalidSetting: If the state holds something else.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_encode(state, tensors))
    head = json.dumps(header, sort_keys=True)
    metadata = {"format": str(FORMAT), "header": head, "state": skeleton, "digest": _digest(head, skeleton, tensors)}
    folder = Path(folder)
    path, part = folder / FILE_NAME, folder / (FILE_NAME + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata)
        _flush(part)
        part.replace(path)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ResultsUnwritable(
            f"cannot write a checkpoint into {folder}: {error}. Free space or choose another folder; "
            f"{'the former checkpoint is kept' if path.exists() else 'there is no former checkpoint'}."
        ) from error
    return path


def load_state(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the folder's checkpoint.

    Returns:
        The state, its tensors on the CPU, and the header.

    Raises:
        CheckpointMissing: If there is none.
        CheckpointDamaged: If it is truncated or was changed.
        CheckpointVersion: If it is of a format that this version does not read.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise CheckpointMissing(f"there is no checkpoint in {folder}; start the run anew, or name its folder.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("format", str(FORMAT)) != str(FORMAT):
                raise CheckpointVersion(
                    f"{path} is of format {metadata['format']}, this version of zotoolkit reads format {FORMAT}; "
                    "resume with the version that wrote it."
                )
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _digest(metadata["header"], metadata["state"], tensors) != metadata["digest"]:
            raise CheckpointDamaged(f"{path} does not fit its own digest; restore it from a copy or start anew.")
        return _decode(json.loads(metadata["state"]), tensors), json.loads(metadata["header"])
    except (SafetensorError, KeyError, json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise CheckpointDamaged(f"{path} is damaged ({error}); restore it from a copy or start anew.") from error


def check_header(found: dict[str, Any], wanted: dict[str, Any], folder: str | Path) -> None:
    """Compare a checkpoint's header with the run that wants to continue it.

    Raises:
        CheckpointMismatch: If one of the wanted entries differs.
    """
    for name, value in wanted.items():
        stored = found.get(name)
        if stored != json.loads(json.dumps(value)):
            raise CheckpointMismatch(
                f"the checkpoint in {folder} is of {name} {stored!r}, this run has {name} {value!r}; "
                "resume with the settings of the checkpoint, or choose another folder."
            )


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Turn a state into JSON, setting its tensors aside; dicts become pairs, since JSON keys are texts only."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A copy: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {"dict": [[_encode(key, tensors), _encode(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(entry, tensors) for entry in value]}
    raise InvalidSetting(f"a checkpoint holds tensors, numbers, texts, dicts and lists, got {brief(value)}.")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_decode(key, tensors): _decode(entry, tensors) for key, entry in content}
    entries = [_decode(entry, tensors) for entry in content]
    return entries if kind == "list" else tuple(entries)


def _digest(header: str, skeleton: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{header}\n{skeleton}".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
