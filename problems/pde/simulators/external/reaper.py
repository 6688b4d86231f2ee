"""A process beside ours that cleans up when ours is gone: it ends the programs left over and removes their folders.

Ours may be killed in a way that no Python code sees (SIGKILL, out of memory). So a second process, in a session of its
own, is told through a pipe which folder is in use and when it no longer is. When the pipe ends, or when our process
does, it ends every process that was started for such a folder, whatever sessions or groups these have made since, and
removes the folder.

A process is known to belong to a folder by a variable in the environment that it was started with and that its own
children inherit. Linux alone shows these; elsewhere only process groups are ended, by who started them.

This file runs as a script in a bare interpreter, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "ZOTOOLKIT_CASE"
"""Name of the environment variable that holds the folder that a program works for; if that is itself started by such a
program, the folder of this one stands before it, on a line of its own."""

_PAUSE = 0.5  # seconds between the end of a folder's use and the search for what outlived it
_PROC = Path("/proc")


def end_processes(folder: str) -> int:
    """End every process that was started for a folder or one inside it, at once and without asking.

    Returns:
        How many there were. What they left behind is for their parents to collect.
    """
    if not hasattr(os, "pidfd_open") or not _PROC.is_dir():
        return 0
    name, mark = VARIABLE.encode() + b"=", os.fsencode(folder)
    found = 0
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            # A handle first: then the number cannot become another process's before the signal is sent.
            with contextlib.suppress(OSError), _handle(int(entry.name)) as handle:
                words = (entry / "environ").read_bytes().split(b"\0")
                marks = [word[len(name) :] for word in words if word.startswith(name)]
                if any(part == mark or part.startswith(mark + b"/") for part in b"\n".join(marks).split(b"\n")):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    found += 1
    return found


def remove_folder(folder: str) -> None:
    """End what was started for a folder and remove it, however often something still writes into it."""
    for attempt in range(20):
        ended = end_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not ended and not os.path.lexists(folder):
            return
        time.sleep(min(0.01 * 2**attempt, 0.2))


@contextlib.contextmanager
def _handle(process: int) -> Iterator[int]:
    handle = os.pidfd_open(process)
    try:
        yield handle
    finally:
        os.close(handle)


def _watch(owner: int) -> None:
    """Read `+folder` and `-folder` lines until they end or the owner does; then clean up what is still in use."""
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    handle = None
    with contextlib.suppress(OSError, AttributeError):
        handle = os.pidfd_open(owner)
        waiting.register(handle, select.POLLIN)
    in_use: set[str] = set()
    ended: set[str] = set()
    text = b""
    while True:
        ready = [number for number, _ in waiting.poll(1000 * _PAUSE if ended else None)]
        if not ready:
            for folder in ended - in_use:
                end_processes(folder)
            ended.clear()
            continue
        if 0 in ready:
            chunk = os.read(0, 1 << 16)
            text += chunk
            *lines, text = text.split(b"\n")
            for line in map(os.fsdecode, lines):
                folder = line[1:]
                (in_use.add if line[0] == "+" else in_use.discard)(folder)
                (ended.discard if line[0] == "+" else ended.add)(folder)
            if not chunk:
                break
        elif handle in ready:
            break
    for folder in in_use:
        remove_folder(folder)
    if in_use:  # what was being started when the owner was killed shows its environment a moment later
        time.sleep(0.2)
    for folder in in_use:
        remove_folder(folder)
    for folder in ended - in_use:
        end_processes(folder)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _watch(int(sys.argv[1]))
