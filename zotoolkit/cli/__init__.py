"""The command line: `zotoolkit list | describe | run | resume | compare | plot | report | certify`.

Exit codes: 0 all went well, 1 a run failed, 2 bad usage, 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import zotoolkit
from zotoolkit.cli import certify, compare, describe, listing, plot, report, resume, run
from zotoolkit.cli.common import FAILED, INTERRUPTED, USAGE, Parser, complain, one_line_warnings
from zotoolkit.errors import (
    BudgetSpent,
    ClassifierFailed,
    ContractViolation,
    DriftDetected,
    InputMutated,
    InvalidAnswers,
    InvalidBatch,
    InvalidValues,
    ObjectiveFailed,
    QueryFailed,
    SolverFailed,
    SolverFinished,
    ZotoolkitError,
)

_COMMANDS = (listing, describe, run, resume, compare, plot, report, certify)
_FAILURES = (
    BudgetSpent,
    ClassifierFailed,
    ContractViolation,
    DriftDetected,
    InputMutated,
    InvalidAnswers,
    InvalidBatch,
    InvalidValues,
    ObjectiveFailed,
    QueryFailed,
    SolverFailed,
    SolverFinished,
)
"""Errors that a run meets on its way; all others are mistakes in what was asked for."""


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="zotoolkit",
        description="Minimise what you can only query, and compare who does it best.",
        epilog="`zotoolkit COMMAND --help` tells about a command.",
    )
    parser.add_argument("--version", action="version", version=f"zotoolkit {zotoolkit.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        parsed = make_parser().parse_args(arguments)
    except SystemExit as end:  # --help, --version or bad usage, which argparse has printed
        return int(end.code or 0)
    parsed.argv = arguments
    with one_line_warnings(enabled=not parsed.debug):
        try:
            return parsed.execute(parsed)
        except KeyboardInterrupt:
            complain("interrupted.")
            return INTERRUPTED
        except BrokenPipeError:
            # Whoever read the output has seen enough; the interpreter must not try to flush it again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except ZotoolkitError as error:
            if parsed.debug:
                raise
            complain(f"error: {error}")
            return FAILED if isinstance(error, _FAILURES) else USAGE
        except Exception as error:
            if parsed.debug:
                raise
            said = str(error) or "no message"
            complain(f"error: {type(error).__name__}: {said}; run the command again with --debug to see where.")
            return FAILED


__all__ = ["main", "make_parser"]
