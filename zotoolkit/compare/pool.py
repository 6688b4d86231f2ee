"""Worker processes that survive their cells: started once, fed one cell after another, replaced when one dies.

A worker that is killed or crashes fails the cell it was at and no other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Literal

from zotoolkit.compare.grid import LOG_FILE, Place
from zotoolkit.compare.worker import work
from zotoolkit.errors import EntryPointFailed

STOP_SECONDS = 60.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Event:
    """What became known of a cell: it got on, was done, failed or was stopped."""

    place: Place
    kind: Literal["progress", "done", "failed", "stopped"]
    queries: int = 0
    error: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    ready: bool = False
    place: Place | None = None


class Pool:
    """Runs cells in parallel processes.

    Args:
        jobs: How many processes.
        imports: What each imports first.
        threads: Torch threads in each.

    Use it as a context: on leaving it all processes end, busy ones at once.
    """

    def __init__(self, jobs: int, imports: tuple[str, ...] = (), threads: int = 1) -> None:
        self._jobs = jobs
        self._imports = imports
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker.place is None and worker.ready:
                with contextlib.suppress(OSError):
                    worker.connection.send(None)
            else:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
            worker.process.close()
        self._workers = []

    def run(self, places: Sequence[Place], stopping: Callable[[], bool] = bool) -> Iterator[Event]:
        """Run all cells and yield what becomes of them, in the order in which it becomes known.

        Args:
            places: What to run.
            stopping: Asked a few times a second; once it is true no cell is begun, the running ones are interrupted,
                and the end is when their checkpoints are written.

        Raises:
            EntryPointFailed: If a worker dies before it has begun.
        """
        waiting = deque(places)
        deadline: float | None = None
        while waiting or any(worker.place for worker in self._workers):
            if deadline is None and stopping():
                waiting.clear()
                self._interrupt()
                deadline = time.monotonic() + STOP_SECONDS
                continue
            if deadline is not None and time.monotonic() > deadline:
                return
            while waiting and len(self._workers) < min(self._jobs, len(places)):
                self._workers.append(self._start())
            for worker in self._speaking():
                yield from self._hear(worker)
                if worker.ready and worker.place is None and waiting and worker in self._workers:
                    self._assign(worker, waiting.popleft())

    def _interrupt(self) -> None:
        """Send every busy worker one SIGINT."""
        for worker in self._workers:
            if worker.place is None or worker.process.pid is None:
                continue
            if os.name == "nt":
                worker.process.terminate()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGINT)

    def _start(self) -> _Worker:
        mine, its = self._context.Pipe()
        process = self._context.Process(target=work, args=(its, self._imports, self._threads), name="zotoolkit-worker")
        with _environment(dict.fromkeys(_THREAD_VARIABLES, str(self._threads))):
            process.start()
        its.close()
        return _Worker(process, mine)

    def _speaking(self) -> list[_Worker]:
        """Wait a moment and return the workers that have something to say, be it that they are dead."""
        said = set(wait([worker.connection for worker in self._workers], timeout=0.2))
        return [worker for worker in self._workers if worker.connection in said]

    def _assign(self, worker: _Worker, place: Place) -> None:
        worker.place = place
        with contextlib.suppress(OSError):  # it died just now, which the next wait shows
            worker.connection.send((place.cell.to_dict(), str(place.folder), str(place.folder / LOG_FILE)))

    def _hear(self, worker: _Worker) -> Iterator[Event]:
        try:
            kind, *content = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._bury(worker)
            return
        place = worker.place
        if kind == "ready" or place is None:
            worker.ready = True
        elif kind == "progress":
            yield Event(place, "progress", content[0])
        else:
            worker.place = None
            if kind == "failed":
                name, message, details = content
                yield Event(place, "failed", error={"kind": name, "message": message, "details": details})
            else:
                yield Event(place, kind, *content)

    def _bury(self, worker: _Worker) -> Iterator[Event]:
        """Take a dead worker out of the pool; the next round starts another in its place."""
        worker.process.join()
        code = worker.process.exitcode
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.close()
        if not worker.ready:
            raise EntryPointFailed(
                f"a worker process ended with exit code {code} before it began; its message stands above."
            )
        if worker.place is not None:
            yield Event(worker.place, "failed", error=_death(code))


def _death(code: int | None) -> dict[str, str]:
    """Describe how a process ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " Was memory short? Fewer --jobs need less." if name == "SIGKILL" else ""
        message = f"the worker process was ended by {name}.{hint}"
    else:
        message = f"the worker process ended by itself with exit code {code}."
    return {"kind": "WorkerDied", "message": message, "details": ""}


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for processes started within; BLAS libraries read them once, while they are loaded."""
    former = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
