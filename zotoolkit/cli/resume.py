"""`zotoolkit resume`: go on with what was interrupted; the folder knows everything else."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zotoolkit.cli import compare
from zotoolkit.cli.common import add_command
from zotoolkit.cli.run import carry_out
from zotoolkit.compare import store
from zotoolkit.compare.cell import Cell
from zotoolkit.compare.runner import COMPARISON_FILE, read_comparison
from zotoolkit.errors import CheckpointMissing


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "resume", execute, "go on with an interrupted run or comparison")
    parser.add_argument("folder", type=Path, metavar="DIR", help="that `zotoolkit run` or `compare` wrote")
    parser.add_argument("--no-progress", action="store_true", help="no progress on standard error")


def execute(arguments: argparse.Namespace) -> int:
    """Continue, or say that there is nothing left to do."""
    folder = arguments.folder
    if not folder.is_dir():
        raise CheckpointMissing(f"there is no folder {folder}; name one that `zotoolkit run --out` wrote.")
    if (folder / COMPARISON_FILE).exists():
        comparison, header = read_comparison(folder)
        return compare.carry_out(
            comparison, folder, progress=not arguments.no_progress, command=str(header.get("command", ""))
        )
    cell = Cell.read(folder)
    if store.is_finished(folder):
        result = store.read_result(folder)
        loss = "unknown" if result["value"] is None else f"{result['value']:.6g}"
        print(f"{folder} is finished: {result['queries']:,} queries, loss {loss}. Nothing is left to do.")
        return 0
    return carry_out(cell, folder, progress=not arguments.no_progress)
