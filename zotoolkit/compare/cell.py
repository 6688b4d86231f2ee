"""One run of one solver on one problem with one seed: made, minimised, recorded, resumable from its folder alone."""

from __future__ import annotations

import inspect
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zotoolkit.callbacks import Callback, TensorBoard
from zotoolkit.checkpoint import FILE_NAME as CHECKPOINT
from zotoolkit.checkpoint import has_checkpoint
from zotoolkit.checks import check_count
from zotoolkit.compare import store
from zotoolkit.compare.curve import CurveRecorder
from zotoolkit.compare.drawings import drawn, draws, warn, write_drawings
from zotoolkit.compare.imports import import_all
from zotoolkit.compare.specification import Entry
from zotoolkit.errors import CheckpointDamaged, CheckpointVersion, InvalidSetting, ResultsUnwritable, UnknownSetting
from zotoolkit.files import read_json, write_json
from zotoolkit.minimize import minimize
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.problem_registry import make, spec
from zotoolkit.run import Result
from zotoolkit.seeding import check_seed
from zotoolkit.solver_registry import make_solver
from zotoolkit.solvers.base import Solver

RUN_FILE = "run.json"
_FORMAT = 1


@dataclass(frozen=True)
class Cell:
    """What is run.

    Args:
        problem: What is minimised.
        solver: Who minimises it.
        seed: Of both.
        budget: Queries.
        device: For problems that take one.
        target: Stop at a loss at or below it.
        imports: What registers the problem and the solver, if they are not built in.
        checkpoint_seconds: Seconds between two checkpoints.
        tensorboard: Whether to log for TensorBoard, into the folder's `tensorboard`.

    Raises:
        InvalidSetting: If the budget, the seed or the device cannot be used.
    """

    problem: Entry
    solver: Entry
    seed: int
    budget: int
    device: str = "cpu"
    target: float | None = None
    imports: tuple[str, ...] = ()
    checkpoint_seconds: float = 30.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_count(self.budget, "budget")
        check_seed(self.seed)
        check_device(self.device)

    def to_dict(self) -> dict[str, Any]:
        """Return the cell as plain data."""
        return {
            "format": _FORMAT,
            "problem": self.problem.to_dict(),
            "solver": self.solver.to_dict(),
            "seed": self.seed,
            "budget": self.budget,
            "device": self.device,
            "target": self.target,
            "imports": list(self.imports),
            "checkpoint_seconds": self.checkpoint_seconds,
            "tensorboard": self.tensorboard,
        }

    @classmethod
    def from_dict(cls, given: dict[str, Any], where: Path | str = "the run") -> Cell:
        """Read what `to_dict` returned.

        Raises:
            CheckpointVersion: If it was written by another format.
            CheckpointDamaged: If something is missing.
        """
        if given.get("format") != _FORMAT:
            raise CheckpointVersion(f"{where} is of format {given.get('format')!r}, this version reads {_FORMAT}.")
        try:
            return cls(
                problem=Entry.parse(given["problem"]),
                solver=Entry.parse(given["solver"]),
                seed=given["seed"],
                budget=given["budget"],
                device=given["device"],
                target=given["target"],
                imports=tuple(given["imports"]),
                checkpoint_seconds=given["checkpoint_seconds"],
                tensorboard=given["tensorboard"],
            )
        except (KeyError, TypeError) as error:
            raise CheckpointDamaged(
                f"{where} is damaged (no {error}); restore it from a copy or start anew."
            ) from error

    @classmethod
    def read(cls, folder: Path) -> Cell:
        """Read the cell that a folder was made for.

        Raises:
            CheckpointError: If the folder holds none that can be read.
        """
        return cls.from_dict(read_json(folder / RUN_FILE, "run"), folder / RUN_FILE)

    def make(self) -> tuple[BlackBoxObjective, Solver]:
        """Make the problem and the solver.

        Raises:
            ZotoolkitError: If their settings cannot be used.
        """
        import_all(self.imports)
        return make_problem(self.problem, self.device), make_solver(self.solver.id, **self.solver.settings)


def make_problem(entry: Entry, device: str) -> BlackBoxObjective:
    """Make a problem on a device.

    Raises:
        InvalidSetting: If the problem takes no device and another than the CPU is wanted.
    """
    settings = dict(entry.settings)
    registered = spec(entry.id)
    if "device" in inspect.signature(registered.load()).parameters:
        settings.setdefault("device", device)
    elif device != "cpu":
        raise InvalidSetting(f"{registered.id} runs on the CPU only, got device={device!r}; leave the device out.")
    return make(entry.id, **settings)


def check_device(device: str) -> str:
    """Return the device if it can be used here.

    Raises:
        InvalidSetting: If it is no torch device, or this machine does not have it.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InvalidSetting(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        built = "torch was built without CUDA" if torch.version.cuda is None else "torch finds no NVIDIA GPU"
        raise InvalidSetting(f"device {device!r} is not available here ({built}); use --device cpu.")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise InvalidSetting(f"there is no {device!r}; this machine has {torch.cuda.device_count()} CUDA device(s).")
    return device


def run_cell(
    cell: Cell,
    folder: Path,
    *,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    keep_checkpoint: bool = True,
    draw: bool = False,
) -> Result:
    """Run a cell, or continue it from its folder's checkpoint, and write its curve, its point and its result.

    Args:
        cell: What to run.
        folder: Where its checkpoint, `run.json`, `curve.csv`, `point.safetensors` and `result.json` go.
        callbacks: More callbacks; when resuming, the same ones.
        progress: Whether to show a progress bar.
        keep_checkpoint: Whether the last checkpoint stays once the result is written.
        draw: Whether the problem's pictures are drawn then, into the folder's `pictures`.

    Raises:
        ZotoolkitError: If the problem or the solver cannot be made, the run failed or nothing can be written.
        KeyboardInterrupt: At Ctrl-C, after writing a checkpoint.
    """
    objective, solver = cell.make()
    recorder = CurveRecorder()
    logs = [TensorBoard(folder / "tensorboard")] if cell.tensorboard else []
    with objective:
        try:
            write_json(folder / RUN_FILE, cell.to_dict())
            started = time.time()
            result = minimize(
                objective,
                solver,
                budget=cell.budget,
                seed=cell.seed,
                target=cell.target,
                callbacks=[recorder, *logs, *callbacks],
                progress=progress,
                checkpoint=folder,
                checkpoint_seconds=cell.checkpoint_seconds,
                resume=has_checkpoint(folder),
            )
            recorder.finish(result.metrics)
            store.write_curve(folder, recorder.rows, cell.problem.label, cell.solver.label, cell.seed)
            store.write_point(folder, result.x)
            store.write_result(folder, _summary(cell, objective, result, recorder, started))
            if draw and draws(objective):
                _draw(cell, objective, result, folder)
        finally:
            solver.close()
    if not keep_checkpoint:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return result


def _draw(cell: Cell, objective: BlackBoxObjective, result: Result, folder: Path) -> None:
    """Draw and write a problem's pictures of one point; where that fails there is a warning and the run stands."""
    pictures = drawn(objective, cell.problem.label, {cell.solver.label: {cell.seed: result.x}})
    try:
        write_drawings({cell.problem.label: pictures}, folder)
    except ResultsUnwritable as error:
        warn(cell.problem.label, error)


def _summary(
    cell: Cell, objective: BlackBoxObjective, result: Result, recorder: CurveRecorder, started: float
) -> dict[str, Any]:
    return {
        "problem": cell.problem.label,
        "solver": cell.solver.label,
        "seed": cell.seed,
        "value": result.value,
        "best_value": result.best_value,
        "noise_free_best": recorder.rows[-1]["noise_free_best"],
        "queries": result.queries,
        "iterations": result.iterations,
        "seconds": result.seconds,
        "evaluation_seconds": recorder.evaluation_seconds,
        "costs": result.costs,
        "metrics": result.metrics,
        "reason": result.reason.name,
        "dimension": objective.dim,
        "draws": draws(objective),
        "device": str(objective.device),
        "host": platform.node(),
        "started": started,
        "ended": time.time(),
    }


def check_entry(entry: Entry, device: str | None = None) -> dict[str, Any]:
    """Make a problem (device given) or a solver (device None) once, so that a bad setting is known at once.

    Returns:
        Of a problem its dimension, plain metadata and whether it draws pictures; of a solver nothing.

    Raises:
        ZotoolkitError: If it cannot be made.
    """
    if device is None:
        made = make_solver(entry.id, **entry.settings)
        made.close()
        return {}
    try:
        with make_problem(entry, device) as objective:
            plain = {
                str(name): value
                for name, value in objective.metadata.items()
                if isinstance(value, (str, int, float, bool, type(None)))
            }
            return {"dimension": objective.dim, "metadata": plain, "draws": draws(objective)}
    except TypeError as error:  # a constructor that got a text where it wanted a number
        if isinstance(error, UnknownSetting):
            raise
        raise InvalidSetting(f"{entry} cannot be made: {error}.") from error
