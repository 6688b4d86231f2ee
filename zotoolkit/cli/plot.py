"""`zotoolkit plot`: figures of a comparison or a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zotoolkit.cli.common import add_command
from zotoolkit.compare.drawings import drawing_files
from zotoolkit.compare.plots import FORMATS, draw_all, write_pictures
from zotoolkit.compare.problem_pictures import draw_problems
from zotoolkit.compare.results import load_results


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "plot", execute, "draw the figures of a comparison or a run into DIR/figures")
    parser.add_argument("folder", type=Path, metavar="DIR", help="that `zotoolkit compare` or `run` wrote")
    parser.add_argument(
        "--format", nargs="+", default=["png"], choices=FORMATS, help="one or more of %(choices)s (default: png)"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Draw and print the files' paths."""
    results = load_results(arguments.folder)
    for path in write_pictures(draw_all(results, arguments.format), arguments.folder):
        print(path)
    if draw_problems(results):
        for path in drawing_files(arguments.folder):
            print(path)
    return 0
