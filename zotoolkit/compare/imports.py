"""Modules that register a user's own problems and solvers, imported by name or from a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from zotoolkit.errors import EntryPointFailed, InvalidSetting, brief


def check_imports(names: Iterable[object], folder: Path | None = None) -> tuple[str, ...]:
    """Import the modules and return their names, files as absolute paths, so that another process can do the same.

    Args:
        names: Module names, looked for in the working directory too, or paths of .py files.
        folder: What relative paths are relative to; the working directory when left out.

    Raises:
        InvalidSetting: If one is no text.
        EntryPointFailed: If one cannot be imported.
    """
    checked: list[str] = []
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidSetting(f"imports holds names of modules or .py files, got {brief(name)}.")
        checked.append(str(((folder or Path()) / name).resolve()) if name.endswith(".py") else name)
    import_all(checked)
    return tuple(checked)


def import_all(names: Iterable[str]) -> None:
    """Import modules and files; one that has been imported is not imported again.

    Raises:
        EntryPointFailed: If one cannot be imported.
    """
    for name in names:
        try:
            if name.endswith(".py"):
                _import_file(Path(name))
            else:
                _import_module(name)
        except Exception as error:
            raise EntryPointFailed(f"cannot import {name}: {type(error).__name__}: {error}.") from error


def _import_module(name: str) -> None:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        importlib.import_module(name)
    finally:
        if added:
            sys.path.remove(here)


def _import_file(path: Path) -> None:
    name = f"zotoolkit_import_{path.stem}_{abs(hash(str(path)))}"
    if any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())):
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
