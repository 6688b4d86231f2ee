"""What the scripts share: a plan of tasks that grows as results come, worked off in pieces of limited time.

A task has a folder of its own under OUT/runs and is done once its `result.json` is there. The plan is asked again after
every task, so that what is tuned first decides what runs next. The table is written anew after every task.

Exit codes: 0 all done; 3 the time limit was reached, the same command goes on; 130 after Ctrl-C, likewise.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zotoolkit.checks import check_device
from zotoolkit.compare.environment import describe_environment
from zotoolkit.errors import CheckpointMismatch, ZotoolkitError
from zotoolkit.files import read_json, write_bytes, write_json

HERE = Path(__file__).resolve().parent
MORE_TO_DO, INTERRUPTED = 3, 130


Results = Mapping[str, Mapping[str, Any]]


class TimeUp(Exception):
    """The time limit is reached; the task's state is on disk."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        size: "small": what a CPU core does in some minutes. "paper": the full setting. "quick": shows that it runs.
        device: That networks are trained on.
        folder: Where CIFAR-10 lies; None for the toolkit's own places.
        deadline: By `time.monotonic`; None for no time limit.
    """

    size: str
    device: str
    folder: Path | None
    deadline: float | None

    def check_time(self) -> None:
        """Raise `TimeUp` once the deadline has passed."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise TimeUp


class Task(ABC):
    """One unit of work whose result is kept.

    Attributes:
        name: Unique in the experiment, a folder's name.
    """

    name: str

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return everything that decides the result; a task's folder is not continued under another one."""

    @abstractmethod
    def run(self, home: Path, options: Options) -> dict[str, Any]:
        """Do it, or go on with what an interrupted run left in `home`.

        Raises:
            TimeUp: When the deadline passes first.
        """


@dataclass(frozen=True)
class Table:
    """A table of a report, its cells as they are printed."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return it as Markdown with aligned columns."""
        lines = [list(self.columns), ["---"] * len(self.columns), *map(list, self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        lines[1] = ["-" * width for width in widths]
        rows = [
            "| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)) + " |" for line in lines
        ]
        return f"{self.title}\n\n" + "\n".join(rows)


@dataclass(frozen=True)
class Experiment:
    """One claim of the paper and how it is looked at.

    Attributes:
        name: Of the result files.
        about: What it is, for --help.
        plan: Returns the tasks of a size, in order, as far as the results so far decide them.
        tables: Returns the tables of a size's results, complete or not.
        draw: Returns a PNG of the results.
        paper: Where the paper's figures stand.
        data: What the images are called by default.
        sizes: Settings that there are.
    """

    name: str
    about: str
    plan: Callable[[str, Results], Sequence[Task]]
    tables: Callable[[str, Results], Sequence[Table]]
    draw: Callable[[str, Results], bytes] | None = None
    paper: str = "Chen et al., DeepZero, ICLR 2024"
    data: str = "CIFAR-10"
    sizes: Sequence[str] = ("quick", "small", "paper")


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for and return the exit code."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=experiment.about)
    size = parser.add_mutually_exclusive_group()
    if "paper" in experiment.sizes:
        size.add_argument("--paper", action="store_true", help="the paper's full setting, for a GPU")
    size.add_argument("--quick", action="store_true", help="the smallest setting, to see that it runs")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="stop after so long; run it again to go on")
    parser.add_argument("--folder", type=Path, help="where CIFAR-10 lies; by default as everywhere in zotoolkit")
    parser.add_argument("--data-name", default=experiment.data, help='for the table, such as "CIFAR-10 (JPEG)"')
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of results and unfinished runs")
    if experiment.draw is not None:
        parser.add_argument("--plot", type=Path, metavar="PNG", help="also draw what there is so far")
    given = parser.parse_args(arguments)
    chosen = "paper" if getattr(given, "paper", False) else "quick" if given.quick else "small"
    deadline = None if given.time_limit is None else started + given.time_limit
    torch.set_num_threads(1)  # of a CPU; and the same bits on machines with more cores
    try:
        check_device(given.device)
        options = Options(chosen, given.device, given.folder, deadline)
        code, results = _work_off(experiment, options, given.out, given.data_name)
        for table in experiment.tables(chosen, results):
            print("\n" + table.markdown())
        if experiment.draw is not None and given.plot is not None and results:
            write_bytes(given.plot, experiment.draw(chosen, results))
            print(f"\ndrawn: {given.plot}")
    except ZotoolkitError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    return code


def _work_off(experiment: Experiment, options: Options, out: Path, data_name: str) -> tuple[int, Results]:
    stem = f"{experiment.name}-{options.size}-{options.device.replace(':', '')}"
    runs, results = out / "runs" / stem, {}
    commit = _commit()  # of the code that is loaded, whatever happens to the files later
    while True:
        plan = experiment.plan(options.size, results)
        todo = next((task for task in plan if task.name not in results), None)
        if todo is None:
            _write(experiment, options, out / f"{stem}.json", results, data_name, complete=True)
            return 0, results
        home = runs / todo.name
        fixed = {"device": options.device, "data": data_name, **todo.description()}
        kept = _kept(home, fixed)
        if kept is not None:
            results[todo.name] = kept
            continue
        print(f"[{len(results) + 1}/{len(plan)}] {todo.name}", flush=True)
        try:
            results[todo.name] = _done(todo, home, fixed, options, commit)
        except TimeUp:
            print(f"the time is up with {len(results)} of at least {len(plan)} runs done; the same command goes on")
            return MORE_TO_DO, results
        _write(experiment, options, out / f"{stem}.json", results, data_name, complete=False)


def _kept(home: Path, fixed: dict[str, Any]) -> dict[str, Any] | None:
    """Return a finished task's result.

    Raises:
        CheckpointMismatch: If the folder belongs to a task with other settings.
    """
    if not (home / "task.json").exists():
        return None
    found = read_json(home / "task.json", "task")
    if found != json.loads(json.dumps(fixed)):
        raise CheckpointMismatch(
            f"{home} holds a run with other settings, {found}; delete it, or choose another --out."
        )
    return read_json(home / "result.json", "result") if (home / "result.json").exists() else None


def _done(task: Task, home: Path, fixed: dict[str, Any], options: Options, commit: str | None) -> dict[str, Any]:
    options.check_time()
    write_json(home / "task.json", fixed)
    result = {**fixed, **task.run(home, options)}
    machine = describe_environment(options.device)
    result |= {"hardware": f"{machine['processor']}, {machine['device']}", "finished": _now(), "commit": commit}
    write_json(home / "result.json", result)
    return result


def _write(
    experiment: Experiment, options: Options, path: Path, results: Results, data_name: str, *, complete: bool
) -> None:
    """Write the table, unless it is there with all of that."""
    if path.exists():
        before = read_json(path, "table")
        if before["complete"] == complete and [run["name"] for run in before["runs"]] == list(results):
            return
    write_json(
        path,
        {
            "experiment": experiment.name,
            "about": experiment.about,
            "setting": options.size,
            "complete": complete,
            "device": options.device,
            "data": data_name,
            "paper": experiment.paper,
            "written": _now(),
            "environment": describe_environment(options.device, threads=torch.get_num_threads()),
            "tables": [
                {"title": table.title, "columns": table.columns, "rows": table.rows}
                for table in experiment.tables(options.size, results)
            ],
            "runs": [{"name": name, **result} for name, result in results.items()],
        },
    )


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _commit() -> str | None:
    """Return the commit, with "-dirty" where tracked code has been changed since; None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/*.py")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=HERE)
    return done.stdout.strip()
