"""A worker process: runs one cell after another and tells its parent how far it is."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from zotoolkit.callbacks.base import Callback

if TYPE_CHECKING:
    from zotoolkit.run import Run

REPORT_SECONDS = 0.2


class _Report(Callback):
    """Sends the parent the number of queries spent; when the parent has gone, the run ends with a checkpoint."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = 0.0

    @override
    def on_start(self, run: Run) -> None:
        self._send(run.queries)

    @override
    def on_iteration(self, run: Run) -> None:
        if time.monotonic() - self._last >= REPORT_SECONDS:
            self._send(run.queries)

    def _send(self, queries: int) -> None:
        self._last = time.monotonic()
        try:
            self._connection.send(("progress", queries))
        except OSError as error:
            raise KeyboardInterrupt from error


def work(connection: Connection, imports: tuple[str, ...], threads: int) -> None:
    """Run cells until told to stop.

    The parent sends `(cell as dict, folder, log file)` or None for the end. Back come `("ready",)` once, then for each
    cell `("progress", queries)` now and again and last `("done", queries)`, `("failed", kind, message, details)` or
    `("stopped",)` after SIGINT.
    """
    # In a process group of its own, so that the terminal's Ctrl-C reaches the parent alone, who passes it on once.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    try:
        _prepare(imports, threads)
        connection.send(("ready",))
        while (task := connection.recv()) is not None:
            _one(connection, *task)
    except (EOFError, OSError, KeyboardInterrupt):
        pass  # the parent has gone or wants this to end


def _prepare(imports: tuple[str, ...], threads: int) -> None:
    import torch

    from zotoolkit.compare.imports import import_all

    torch.set_num_threads(threads)
    warnings.simplefilter("default")
    import_all(imports)


def _one(connection: Connection, cell: dict[str, Any], folder: str, log: str) -> None:
    from zotoolkit.compare.cell import Cell, run_cell

    with _Log(Path(log)):
        try:
            report = _Report(connection)
            result = run_cell(Cell.from_dict(cell), Path(folder), callbacks=[report], keep_checkpoint=False)
        except KeyboardInterrupt:
            answer = ("stopped",)
        except BaseException as error:
            if isinstance(error, (SystemExit, GeneratorExit)):
                error = RuntimeError(f"the objective called for the process to end ({type(error).__name__} {error})")
            answer = ("failed", type(error).__name__, str(error) or type(error).__name__, traceback.format_exc())
        else:
            answer = ("done", result.queries)
    # The next cell must not find a signal that was meant for this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    connection.send(answer)


class _Log:
    """Sends what the process prints, and a crash's stack, into a file, which goes away if it stays empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._saved: list[int] = []
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError:
            return  # whoever writes the results will say what is wrong with the folder
        self._saved = [os.dup(1), os.dup(2)]
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)
        faulthandler.enable(2)

    def __exit__(self, *_: object) -> None:
        if not self._saved:
            return
        faulthandler.disable()
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in enumerate(self._saved, start=1):
            os.dup2(saved, number)
            os.close(saved)
        with contextlib.suppress(OSError):  # the folder may have been removed meanwhile, which is no error of the cell
            if self._path.stat().st_size == 0:
                self._path.unlink()
