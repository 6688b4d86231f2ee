"""What takes long to make, kept between runs: made once, read back after, made again if its file is not whole.

An entry is a checkpoint (safetensors with a digest over its content) in a folder of `zotoolkit.cache_folder`, named by
a hash of everything that decides the result: settings, data, architecture, initial state, the version of the code. An
entry that is found is therefore the one that would be made. Trained networks and reference data are kept so.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zotoolkit.cache_folder import cache_folder
from zotoolkit.checkpoint import FILE_NAME, has_checkpoint, load_state, save_state
from zotoolkit.errors import CheckpointError, ResultsUnwritable

State = dict[str, Any]
"""Nested dicts, lists and tuples of tensors, numbers, texts, booleans and None."""

_STALE = 24 * 3600.0  # seconds after which a folder half written is taken for one whose process was killed
_log = logging.getLogger("zotoolkit")


def kept(part: str, name: str, key: Mapping[str, Any] | None, make: Callable[[], State]) -> tuple[State, bool]:
    """Return what was made before under this name and key, else make it and keep it.

    Neither a damaged entry nor a folder that cannot be written to stops anything: one line is logged.

    Args:
        part: Whose it is, the sub-folder of the cache.
        name: What it is, the beginning of a folder's name.
        key: Everything that decides the result: numbers, texts, lists and dicts of them; None to make it anyway, and
            not keep it.
        make: Called without arguments if there is no usable entry.

    Returns:
        The state, its tensors on the CPU, and whether it was there.
    """
    if key is None:
        return make(), False
    key = {**key, "torch": torch.__version__}
    try:
        folder = cache_folder(part) / f"{name}-{_hash(key)}"
        if has_checkpoint(folder):
            state, header = load_state(folder)
            if header == json.loads(json.dumps(key)):
                return state, True
            _log.warning("the cached %s in %s has another key; it is made again", name, folder)
    except (CheckpointError, OSError) as error:
        _log.warning("the cached %s cannot be used (%s); it is made again", name, error)
    state = make()
    try:
        _keep(cache_folder(part) / f"{name}-{_hash(key)}", state, key)
    except (ResultsUnwritable, OSError) as error:
        _log.warning("the %s is not cached: %s", name, error)
    return state, False


def architecture(module: nn.Module) -> State | None:
    """Return what a module computes with, as far as code and layout say: a part of a key.

    Torch's own layers are told apart by their settings; others, whose settings need not show, by the text of the files
    that they are written in.

    Returns:
        None if that text is not to be had, because a class was typed into an interpreter.
    """
    kinds = {type(part) for part in module.modules() if not type(part).__module__.startswith("torch.")}
    try:
        files = sorted({inspect.getsourcefile(kind) or "" for kind in kinds})
        code = [Path(file).read_text(encoding="utf-8") for file in files]
    except (OSError, TypeError):
        return None
    names = sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    return {"layers": repr(module), "kinds": names, "code": _hash({"files": code})}


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 digest of named tensors.

    Examples:
        >>> zeros = torch.zeros(2)
        >>> fingerprint({"a": zeros}) == fingerprint({"a": torch.zeros(2)}), len(fingerprint({"a": zeros}))
        (True, 64)
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _keep(folder: Path, state: State, key: Mapping[str, Any]) -> None:
    """Write an entry whole: in a folder of this process first, because others may be making the same one."""
    _sweep(folder.parent)
    own = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        path = save_state(own, state, dict(key))
        folder.mkdir(exist_ok=True)
        path.replace(folder / FILE_NAME)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what processes that were killed while they wrote have left."""
    for path in parent.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path, ignore_errors=True)


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
