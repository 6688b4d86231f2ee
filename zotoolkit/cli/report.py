"""`zotoolkit report`: the page of a comparison or a run."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from zotoolkit.cli.common import add_command
from zotoolkit.compare.plots import draw_all, write_pictures
from zotoolkit.compare.problem_pictures import stored_or_drawn
from zotoolkit.compare.report import write_report
from zotoolkit.compare.results import load_results


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "report", execute, "write the report of a comparison or a run, one HTML page")
    parser.add_argument("folder", type=Path, metavar="DIR", help="that `zotoolkit compare` or `run` wrote")
    parser.add_argument("--title", help="of the page")


def execute(arguments: argparse.Namespace) -> int:
    """Write the page and the figures and print the page's path."""
    results = load_results(arguments.folder)
    if arguments.title:
        comparison = dataclasses.replace(results.comparison, title=arguments.title)
        results = dataclasses.replace(results, comparison=comparison)
    pictures = draw_all(results)
    write_pictures(pictures, arguments.folder)
    print(write_report(results, pictures, stored_or_drawn(results)).resolve())
    return 0
