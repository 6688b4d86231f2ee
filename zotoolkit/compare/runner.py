"""Runs a comparison: skips what is finished, continues what was interrupted, gathers the results."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd

from zotoolkit.checks import check_count
from zotoolkit.compare import store
from zotoolkit.compare.cell import check_device, check_entry
from zotoolkit.compare.display import Display
from zotoolkit.compare.environment import describe_environment, effective_settings, usable_cores
from zotoolkit.compare.grid import ERROR_FILE, Place, places
from zotoolkit.compare.imports import import_all
from zotoolkit.compare.pool import Event, Pool
from zotoolkit.compare.specification import Comparison, problem_spec, solver_spec
from zotoolkit.errors import CheckpointMismatch, CheckpointVersion, ResultsUnwritable
from zotoolkit.files import check_writable, read_json, write_json

COMPARISON_FILE = "comparison.json"
LOCK_FILE = ".lock"
_FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """What came out of a comparison.

    Attributes:
        folder: Where it is.
        frame: The finished cells' curves.
        finished: How many cells are finished.
        failures: Places of the cells that failed.
        cells: How many cells there are.
    """

    folder: Path
    frame: pd.DataFrame
    finished: int
    failures: list[Place]
    cells: int


def run_comparison(
    comparison: Comparison,
    folder: str | Path,
    *,
    jobs: int | None = None,
    progress: bool = True,
    command: str = "",
) -> Outcome:
    """Run all cells of a comparison that are not finished yet.

    Cells run in processes of their own, one torch thread each. Called again with the same folder and the same
    specification, it skips finished cells, continues interrupted ones from their checkpoints and tries failed ones
    again. A script that calls this must do so under `if __name__ == "__main__":`.

    Args:
        comparison: What to compare.
        folder: Where everything goes.
        jobs: Processes side by side; by default one a core.
        progress: Whether to show progress on standard error.
        command: The command line that led here, for the report.

    Raises:
        InvalidSetting, UnknownSetting: If a problem or solver cannot be made.
        CheckpointMismatch: If the folder holds another comparison.
        ResultsUnwritable: If the folder cannot be written, or someone else is running a comparison in it.
        KeyboardInterrupt: At Ctrl-C, once the running cells have written their checkpoints.
    """
    folder = Path(folder)
    jobs = usable_cores() if jobs is None else check_count(jobs, "jobs")
    check_device(comparison.device)
    import_all(comparison.imports)
    facts = {entry.label: check_entry(entry, comparison.device) for entry in comparison.problems}
    for entry in comparison.solvers:
        check_entry(entry)
    check_writable(folder)
    with _locked(folder):
        _check_same(comparison, folder)
        everything = places(comparison, folder)
        todo = [place for place in everything if not place.finished]
        if todo or not (folder / COMPARISON_FILE).is_file():
            write_json(folder / COMPARISON_FILE, _header(comparison, facts, jobs, command))
        else:
            header = read_comparison(folder)[1] | {"comparison": comparison.to_dict()}  # the title may be another
            write_json(folder / COMPARISON_FILE, header)
        interrupted = False
        if todo:
            display = Display(len(everything), len(todo), comparison.budget, progress)
            interrupted = _run(comparison, todo, jobs, display)
        outcome = gather(comparison, folder)
    if interrupted:
        raise KeyboardInterrupt
    return outcome


def gather(comparison: Comparison, folder: Path) -> Outcome:
    """Write `results.csv` from all finished cells.

    Raises:
        ResultsUnwritable: If it cannot be written.
        CheckpointDamaged: If a finished cell's curve cannot be read.
    """
    everything = places(comparison, folder)
    frame = store.read_curves(place.folder for place in everything)
    store.write_frame(folder / store.RESULTS_FILE, frame)
    finished = sum(place.finished for place in everything)
    return Outcome(folder, frame, finished, [place for place in everything if place.error], len(everything))


def read_comparison(folder: Path) -> tuple[Comparison, dict[str, Any]]:
    """Read what a folder compares, and the header with command, dates and environment.

    Raises:
        CheckpointMissing: If the folder holds no comparison.
        CheckpointDamaged, CheckpointVersion: If it cannot be read.
    """
    header = read_json(folder / COMPARISON_FILE, "comparison")
    if header.get("format") != _FORMAT:
        raise CheckpointVersion(
            f"{folder / COMPARISON_FILE} is of format {header.get('format')!r}, this version reads {_FORMAT}."
        )
    return Comparison.from_dict(header.get("comparison"), stored=True), header


def _run(comparison: Comparison, todo: list[Place], jobs: int, display: Display) -> bool:
    """Run the cells and return whether Ctrl-C cut that short."""
    try:
        with _deferred_interrupt(display) as interrupted, Pool(jobs, comparison.imports) as pool:
            for event in pool.run(todo, interrupted):
                _take(event, display)
            return interrupted()
    finally:
        display.close()


def _take(event: Event, display: Display) -> None:
    place = event.place
    if event.kind == "progress":
        display.progress(place, event.queries)
    elif event.kind == "done":
        (place.folder / ERROR_FILE).unlink(missing_ok=True)
        result = store.read_result(place.folder)
        value = result["best_value"] if result["noise_free_best"] is None else result["noise_free_best"]
        display.done(place, result["queries"], value)
    elif event.kind == "failed":
        with contextlib.suppress(ResultsUnwritable):  # the failure itself may be a full disk
            write_json(place.folder / ERROR_FILE, event.error)
        display.failed(place, event.error["message"])


def _check_same(comparison: Comparison, folder: Path) -> None:
    """Refuse a folder that holds something else."""
    if not (folder / COMPARISON_FILE).exists():
        return
    found, _ = read_comparison(folder)
    if differences := found.differences(comparison):
        raise CheckpointMismatch(
            f"{folder} holds another comparison; this one differs in {'; '.join(differences)}. "
            "Choose another folder with --out, or repeat the former command to go on with the former comparison."
        )


def _header(comparison: Comparison, facts: dict[str, Any], jobs: int, command: str) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "comparison": comparison.to_dict(),
        "problems": facts,
        "problem settings": {
            entry.label: effective_settings(entry, problem_spec(entry.id)) for entry in comparison.problems
        },
        "solver settings": {
            entry.label: effective_settings(entry, solver_spec(entry.id)) for entry in comparison.solvers
        },
        "environment": describe_environment(comparison.device, jobs),
        "command": command,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


@contextlib.contextmanager
def _deferred_interrupt(display: Display) -> Iterator[Callable[[], bool]]:
    """Within this context the first Ctrl-C only makes the yielded function true; the second one raises."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        display.note("stopping: the running cells write their checkpoints (Ctrl-C again: stop at once) ...")

    former = signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, former)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second comparison out of the folder; the lock goes when its process does, however that ends.

    Raises:
        ResultsUnwritable: If another process holds it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultsUnwritable(
                f"another comparison is running in {folder}; wait for its end or choose another folder."
            ) from error
        yield
    finally:
        os.close(handle)
