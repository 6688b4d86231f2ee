"""Runs programs side by side, each to its end or its time limit, and leaves none behind.

One thread waits for all of them: on handles of the processes where the system has these, so that an end is seen when
it happens and not at the next look.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from problems.pde.simulators.external.reaper import VARIABLE, end_processes

_KEPT = 1 << 14  # bytes of the end of what a program says
_LOOK = 0.002  # seconds between two looks at a process that there is no handle for


@dataclass(frozen=True)
class Run:
    """What became of a program.

    Attributes:
        failure: What went wrong, in words; None if it ended with code 0.
        said: The end of what it wrote to standard error; if that is nothing, of its standard output.
        timed_out: Whether it was ended because its time was up.
        begun: Whether it could be started at all.
    """

    failure: str | None
    said: str = ""
    timed_out: bool = False
    begun: bool = True


@dataclass
class _Process:
    number: int
    popen: subprocess.Popen[bytes]
    folder: Path
    deadline: float
    handle: int | None
    pipes: dict[int, IO[bytes]]
    said: dict[int, bytes]
    collected: bool = False


def run_programs(
    command: Sequence[str],
    folders: Sequence[Path],
    *,
    workers: int,
    timeout: float,
    environment: Mapping[str, str],
    prepare: Callable[[int], None],
    collect: Callable[[int, Run], None],
) -> None:
    """Run a command once in each folder, some at a time.

    Args:
        command: Absolute path of the executable and its arguments.
        folders: Where to run it.
        workers: How many may run at once.
        timeout: Seconds that each may take. Then it is killed, with all processes that it started.
        environment: All variables that it sees; one is added that marks the folder.
        prepare: Called with a folder's place in the list before the command is run in it.
        collect: Called with a folder's place and its run's outcome, when nothing runs in it any more.

    Raises:
        BaseException: Whatever `prepare` and `collect` raise, and KeyboardInterrupt; no process is left then.
    """
    waiting = list(reversed(range(len(folders))))
    live: dict[int, _Process] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or live:
                while waiting and len(live) < workers:
                    number = waiting.pop()
                    prepare(number)
                    try:
                        live[number] = _begin(number, command, folders[number], timeout, environment, selector)
                    except OSError as error:
                        collect(number, Run(f"could not be started: {error}", begun=False))
                for process in _wait(live, selector):
                    run = _finish(process, selector)
                    del live[process.number]
                    collect(process.number, run)
        finally:
            for process in live.values():
                _end(process)
                _close(process, selector)


def _begin(
    number: int,
    command: Sequence[str],
    folder: Path,
    timeout: float,
    environment: Mapping[str, str],
    selector: selectors.BaseSelector,
) -> _Process:
    popen = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, VARIABLE: "\n".join((*environment.get(VARIABLE, "").split("\n"), str(folder))).strip()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a group of its own, which Ctrl-C does not reach and a signal to the group does
    )
    handle = None
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(popen.pid)
    pipes = {pipe.fileno(): pipe for pipe in (popen.stderr, popen.stdout) if pipe is not None}
    said = dict.fromkeys(pipes, b"")
    process = _Process(number, popen, folder, time.monotonic() + timeout, handle, pipes, said)
    for descriptor in pipes:
        os.set_blocking(descriptor, False)
        selector.register(descriptor, selectors.EVENT_READ, process)
    if handle is not None:
        selector.register(handle, selectors.EVENT_READ, process)
    return process


def _wait(live: Mapping[int, _Process], selector: selectors.BaseSelector) -> list[_Process]:
    """Return processes that have ended or must; until there is one, read what they say."""
    if not live:
        return []
    while True:
        rest = min(process.deadline for process in live.values()) - time.monotonic()
        if any(process.handle is None for process in live.values()):
            rest = min(rest, _LOOK)
        for key, _ in selector.select(max(rest, 0)):
            if key.fd in key.data.pipes:
                _read(key.data, key.fd, selector)
        now = time.monotonic()
        if over := [process for process in live.values() if _has_ended(process) or now >= process.deadline]:
            return over


def _has_ended(process: _Process) -> bool:
    """Return whether the process has ended, without collecting it: until then its group's number is its own."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.popen.poll() is not None
    try:
        found = os.waitid(os.P_PID, process.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # who ignores SIGCHLD has children collected by the system
        return True
    return found is not None


def _finish(process: _Process, selector: selectors.BaseSelector) -> Run:
    timed_out = not _has_ended(process)
    code = _end(process)
    if timed_out or code < 0:
        end_processes(str(process.folder))  # of sessions and groups that it made
    for descriptor in list(process.pipes):
        _read(process, descriptor, selector)
    _close(process, selector)
    failure = _name(code) if code else None
    if timed_out:
        failure = "was killed: its time was up"
    words = next((text for text in process.said.values() if text.strip()), b"")
    return Run(failure, words.decode("utf-8", "replace").strip(), timed_out)


def _end(process: _Process) -> int:
    """Kill the whole group, which is still there, for its leader has not been collected; collect it."""
    if not process.collected:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.popen.pid, signal.SIGKILL)
    code = process.popen.wait()
    process.collected = True
    return code


def _read(process: _Process, descriptor: int, selector: selectors.BaseSelector) -> None:
    """Take what there is in a pipe, of which the end is kept."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(64):  # a program that never stops talking must not keep us from its deadline
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                selector.unregister(descriptor)
                process.pipes.pop(descriptor).close()
                return
            process.said[descriptor] = (process.said[descriptor] + chunk)[-_KEPT:]


def _close(process: _Process, selector: selectors.BaseSelector) -> None:
    for descriptor, pipe in process.pipes.items():
        with contextlib.suppress(KeyError):
            selector.unregister(descriptor)
        pipe.close()
    process.pipes.clear()
    if process.handle is not None:
        with contextlib.suppress(KeyError):
            selector.unregister(process.handle)
        os.close(process.handle)
        process.handle = None


def _name(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
