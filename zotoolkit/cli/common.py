"""What the sub-commands share: exit codes, argument types, one-line messages."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from zotoolkit.compare.settings import parse_pairs

FAILED = 1
USAGE = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit."""
        self.exit(USAGE, f"zotoolkit: error: {' '.join(message.split())}; see `{self.prog} --help`.\n")


def add_command(
    commands: Any, name: str, execute: Callable[[argparse.Namespace], int], help: str, **more: Any
) -> Parser:
    """Add a sub-command with the options that all have.

    Args:
        commands: What `add_subparsers` returned.
        name: Of the sub-command.
        execute: Called with the parsed arguments; returns the exit code.
        help: One line.
        more: For the parser, such as an epilog.
    """
    parser: Parser = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", formatter_class=_Formatter, **more
    )
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    parser.set_defaults(execute=execute)
    return parser


def add_imports(parser: Parser) -> None:
    """Add the option that imports a user's own problems and solvers."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module or a .py file first, which registers problems or solvers of your own; may be repeated",
    )


def add_run_options(parser: Parser) -> None:
    """Add what `run` and `compare` have in common."""
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--checkpoint-seconds", type=float, metavar="S", help="seconds between two checkpoints (default: 30)"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress on standard error")
    add_imports(parser)


def whole_number(text: str) -> int:
    """Return the number that `5000`, `5_000`, `5e3` or `-5` stands for.

    Raises:
        argparse.ArgumentTypeError: If it is no whole number.
    """
    with contextlib.suppress(ValueError, OverflowError):
        try:
            return int(text)
        except ValueError:
            if float(text) == int(float(text)):
                return int(float(text))
    raise argparse.ArgumentTypeError(f"must be a whole number, such as 5000 or 5e3, got {text!r}")


def split_settings(pairs: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the problem's settings and the solver's, whose keys begin with `solver.`.

    Raises:
        InvalidSetting: If one does not read `key=value` or comes twice.
    """
    settings = parse_pairs(pairs)
    prefix = "solver."
    ours = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    return {key: value for key, value in settings.items() if not key.startswith(prefix)}, ours


def complain(text: str) -> None:
    """Print one line on standard error."""
    print(f"zotoolkit: {' '.join(text.split())}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def one_line_warnings(*, enabled: bool) -> Iterator[None]:
    """Within this context warnings are one line each, like errors."""
    former = warnings.formatwarning
    if enabled:
        warnings.formatwarning = lambda message, *_, **__: f"zotoolkit: warning: {' '.join(str(message).split())}\n"
    try:
        yield
    finally:
        warnings.formatwarning = former


class _Formatter(argparse.HelpFormatter):
    """Keeps the line breaks of an epilog, which holds examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return (
            "\n".join(indent + line for line in text.splitlines())
            if "\n" in text
            else super()._fill_text(text, width, indent)
        )
