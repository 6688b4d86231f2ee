"""`zotoolkit run`: one solver on one problem."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from zotoolkit.cli.common import INTERRUPTED, add_command, add_run_options, complain, split_settings, whole_number
from zotoolkit.compare.cell import RUN_FILE, Cell, run_cell
from zotoolkit.compare.drawings import drawing_files
from zotoolkit.compare.imports import check_imports
from zotoolkit.compare.runner import COMPARISON_FILE
from zotoolkit.compare.specification import Entry, labelled, problem_spec, slug, solver_spec
from zotoolkit.errors import CheckpointExists, InvalidSetting
from zotoolkit.files import check_writable
from zotoolkit.problem_registry import spec
from zotoolkit.registration import EntrySpec

_EXAMPLES = """examples:
  zotoolkit run Functions/Rosenbrock-v0 --solver ZO/SGD-CGE-v0 --budget 5000 --set dim=5 --set solver.lr=1e-4
  zotoolkit run Defense/Digits-v0
  zotoolkit run DNN/DigitsMLP-v0 --solver ZO/SPSA-v0 --budget 20000 --seed 3 --out runs/digits"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "run", execute, "run one solver on one problem", epilog=_EXAMPLES)
    parser.add_argument("problem", metavar="ID", help="of the problem, such as Functions/Sphere-v0")
    parser.add_argument(
        "--solver",
        metavar="ID",
        help="of the solver, such as ZO/SGD-CGE-v0 (default: the problem's own, if any)",
    )
    parser.add_argument(
        "--budget", type=whole_number, metavar="N", help="queries that may be spent (default: the problem's own)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of problem and solver (default: 0)")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the problem, or with solver.KEY=VALUE of the solver; may be repeated",
    )
    parser.add_argument("--target", type=float, metavar="LOSS", help="stop once a query observes a loss this low")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for checkpoint, curve and result (default: a new one in runs/)"
    )
    parser.add_argument("--tensorboard", action="store_true", help="log for TensorBoard into DIR/tensorboard")
    add_run_options(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run and print the result."""
    imports = check_imports(arguments.imports)
    of_problem, of_solver = split_settings(arguments.settings)
    registered = spec(arguments.problem)
    solver = _given_or_own(arguments.solver, registered.solver, "--solver", registered)
    budget = _given_or_own(arguments.budget, registered.budget, "--budget", registered)
    cell = Cell(
        problem=labelled([Entry(arguments.problem, of_problem)], problem_spec)[0],
        solver=labelled([Entry(solver, of_solver)], solver_spec)[0],
        seed=arguments.seed,
        budget=budget,
        device=arguments.device or "cpu",
        target=arguments.target,
        imports=imports,
        checkpoint_seconds=30.0 if arguments.checkpoint_seconds is None else arguments.checkpoint_seconds,
        tensorboard=arguments.tensorboard,
    )
    folder = _new_folder(cell) if arguments.out is None else arguments.out
    for file in (RUN_FILE, COMPARISON_FILE):
        if (folder / file).exists():
            raise CheckpointExists(
                f"{folder} holds results already; `zotoolkit resume {folder}` goes on with them; or name another --out."
            )
    check_writable(folder)
    return carry_out(cell, folder, progress=not arguments.no_progress)


def _given_or_own(given: Any, own: Any, option: str, registered: EntrySpec) -> Any:
    """Return what was given, else the problem's own.

    Raises:
        InvalidSetting: If there is neither.
    """
    if given is None and own is None:
        raise InvalidSetting(f"{registered.id} has no {option.strip('-')} of its own: give {option}.")
    return own if given is None else given


def carry_out(cell: Cell, folder: Path, *, progress: bool) -> int:
    """Run or continue a cell in a folder and print what came of it."""
    try:
        result = run_cell(cell, folder, progress=progress, draw=True)
    except KeyboardInterrupt:
        complain(f"interrupted; the checkpoint is written. Go on with: zotoolkit resume {folder}")
        return INTERRUPTED
    print(f"{cell.solver.id} on {cell.problem.id}, seed {cell.seed}")
    print(result)
    for path in drawing_files(folder):
        print(f"picture {path}")
    print(f"saved in {folder}")
    return 0


def _new_folder(cell: Cell) -> Path:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(cell.problem.label)}-{slug(cell.solver.label)}-seed{cell.seed}"
    folder = Path("runs") / name
    number = 2
    while folder.exists():
        folder = Path("runs") / f"{name}-{number}"
        number += 1
    return folder
