"""`zotoolkit list`: what is registered."""

from __future__ import annotations

import argparse
from typing import Any

from zotoolkit.cli.common import add_command, add_imports
from zotoolkit.compare.imports import check_imports
from zotoolkit.errors import UnknownId, did_you_mean
from zotoolkit.problem_registry import objectives
from zotoolkit.registration import EntrySpec, format_specs
from zotoolkit.solver_registry import solvers


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "list", execute, "list problems and solvers")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--problems", action="store_true", help="problems only")
    which.add_argument("--solvers", action="store_true", help="solvers only")
    parser.add_argument("filter", nargs="?", default="", metavar="FILTER", help="part of an id or a description")
    add_imports(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the ids with a line each."""
    check_imports(arguments.imports)
    kinds = [("problems", objectives)] * (not arguments.solvers) + [("solvers", solvers)] * (not arguments.problems)
    blocks, ids = [], []
    for kind, registry in kinds:
        specs = registry.specs()
        ids += [spec.id for spec in specs]
        if found := [spec for spec in specs if _matches(spec, arguments.filter)]:
            blocks.append(f"{len(found)} {kind}\n\n{format_specs(found)}")
    if not blocks:
        hint = did_you_mean(arguments.filter, ids)
        raise UnknownId(f"nothing matches {arguments.filter!r}.{hint} `zotoolkit list` without a filter shows all.")
    print("\n\n".join(blocks))
    return 0


def _matches(spec: EntrySpec, part: str) -> bool:
    return part.lower() in f"{spec.id} {spec.description}".lower()
