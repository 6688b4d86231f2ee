"""Folders that programs work in: each belongs to this process, and is gone when its block ends or its owner dies.

A folder's name tells whose it is: the machine, the process's number and when that process began (numbers are given
again). So what a dead owner left can be told from what a live one uses, and removed by whoever comes next.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from problems.pde.simulators.external import reaper
from zotoolkit.errors import CaseUnwritable, InvalidSetting, brief

PREFIX = "zotoolkit-case"
_log = logging.getLogger("zotoolkit")


def check_parent(folder: object) -> Path:
    """Return the folder that case folders are made in; None is the one for temporary files.

    Raises:
        InvalidSetting: If it is not there.
    """
    if folder is None:
        return Path(tempfile.gettempdir())
    if not isinstance(folder, (str, os.PathLike)):
        raise InvalidSetting(f"folder must be a path, or None for the system's temporary files, got {brief(folder)}.")
    parent = Path(os.fsdecode(folder)).absolute()
    if "\n" in str(parent):
        raise InvalidSetting(f"folder must not have a line break in its name, got {str(parent)!r}.")
    if not parent.is_dir():
        raise InvalidSetting(f"folder must be there, so that case folders can be made in it; got {str(parent)!r}.")
    return parent


@contextmanager
def fresh_folder(parent: Path) -> Iterator[Path]:
    """Make a folder, and remove it when the block ends, with every process that was started for it.

    Should this process be killed meanwhile, another one does both.

    Args:
        parent: Where; folders that dead processes left there are removed when this process first uses it.

    Raises:
        CaseUnwritable: If it cannot be made.
    """
    _remove_stale(parent)
    folder = parent / f"{PREFIX}-{_machine()}-{os.getpid()}-{_began(os.getpid())}-{secrets.token_hex(6)}"
    _guard.tell(f"+{folder}")
    try:
        _live.add(folder)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise CaseUnwritable(
                f"no case folder can be made in {str(parent)!r} ({error}); free some space or name another folder."
            ) from error
        yield folder
    except BaseException:
        # Perhaps in the middle of starting a process, whose number nobody knows then.
        reaper.remove_folder(str(folder))
        raise
    finally:
        _remove(folder)


def remove_live_folders() -> None:
    """Remove the folders that this process has in use, with what was started for them: it is about to end."""
    for folder in list(_live):
        reaper.remove_folder(str(folder))
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        reaper.remove_folder(str(folder))
    _live.discard(folder)
    _guard.tell(f"-{folder}")


class _Guard:
    """The process that cleans up after ours; begun when there is something to clean up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def forget(self) -> None:
        """Leave the guard to the process that we are a fork of, and close our end of its pipe."""
        left = self._process
        self.__init__()
        if left is not None and left.stdin is not None:
            left.stdin.close()
            left.returncode = 0  # not ours to wait for

    def tell(self, line: str) -> None:
        with self._lock:
            for _ in range(2):  # a guard that has been killed is replaced, once
                if self._process is None and line.startswith("+"):
                    self._process = self._begin()
                if self._process is None or self._process.stdin is None:
                    return
                with contextlib.suppress(OSError):
                    os.write(self._process.stdin.fileno(), os.fsencode(line) + b"\n")
                    return
                self._process.stdin.close()
                self._process.wait()
                self._process = None

    def _begin(self) -> subprocess.Popen[bytes] | None:
        if not sys.executable or getattr(sys, "frozen", False):
            return None
        command = [sys.executable, "-I", "-S", reaper.__file__, str(os.getpid())]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            _log.warning("nothing will clean up should this process be killed: %s", error)
            return None
        for folder in _live:
            os.write(process.stdin.fileno(), os.fsencode(f"+{folder}\n"))  # pyright: ignore[reportOptionalMemberAccess]
        return process

    def end(self) -> None:
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=5)
                self._process = None


_guard = _Guard()
_live: set[Path] = set()
_looked_through: set[Path] = set()


def _after_fork() -> None:
    _live.clear()
    _guard.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_guard.end)
atexit.register(remove_live_folders)


def _remove_stale(parent: Path) -> None:
    if parent in _looked_through:
        return
    _looked_through.add(parent)
    stale: list[Path] = []
    with contextlib.suppress(OSError):
        stale = [path for path in parent.glob(f"{PREFIX}-{_machine()}-*") if _owner_is_dead(path)]
    for path in stale:
        reaper.remove_folder(str(path))
    if stale:
        _log.info("removed %d case folders that programs of dead processes had left in %s", len(stale), parent)


def _owner_is_dead(folder: Path) -> bool:
    parts = folder.name.removeprefix(f"{PREFIX}-").split("-")
    if len(parts) != 4 or not parts[1].isdigit() or folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return False
    number = int(parts[1])
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _began(number) != parts[2]


def _began(number: int) -> str:
    """Return when a process began, in the kernel's ticks; "0" where that is not to be had, "" once it has ended."""
    try:
        # The second field, the program's name, may hold blanks and parentheses; the count starts behind it.
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]  # ended, but nobody has collected it yet
    except (OSError, IndexError):
        return "0"


def _machine() -> str:
    """Return a name for what process numbers are unique in: a machine, or one container on it."""
    try:
        numbers = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]
