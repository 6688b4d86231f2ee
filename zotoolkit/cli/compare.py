"""`zotoolkit compare`: problems x solvers x seeds in parallel, then table, figures and report."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from zotoolkit.cli.common import FAILED, INTERRUPTED, add_command, add_run_options, complain, whole_number
from zotoolkit.compare import store
from zotoolkit.compare.drawings import PICTURES
from zotoolkit.compare.plots import draw_all, write_pictures
from zotoolkit.compare.problem_pictures import draw_problems
from zotoolkit.compare.report import write_report
from zotoolkit.compare.results import Results, load_results
from zotoolkit.compare.runner import run_comparison
from zotoolkit.compare.specification import Comparison, read_specification
from zotoolkit.compare.suites import suite, suite_names
from zotoolkit.compare.text import final_text
from zotoolkit.errors import InvalidSetting, MissingExtra

_EXAMPLES = """examples:
  zotoolkit compare --problems Functions/Sphere-v0:dim=20 Functions/Ackley-v0 --budget 2000 --seeds 5 \\
      --solvers ZO/SPSA-v0 "CGE=ZO/SGD-CGE-v0:lr=0.05,mu=0.001" Nevergrad/CMA-v0 --out results
  zotoolkit compare spec.json --out results
  zotoolkit compare --suite functions --out results

a problem or solver reads ID, ID:key=value,key=value or LABEL=ID:key=value; values are JSON or plain text.
The same command again skips what is finished and goes on with what was interrupted."""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(
        commands, "compare", execute, "compare solvers on problems and report the result", epilog=_EXAMPLES
    )
    parser.add_argument("spec", nargs="?", type=Path, metavar="SPEC", help="specification, a JSON or TOML file")
    parser.add_argument("--suite", metavar="NAME", help=f"a named specification: {', '.join(suite_names())}")
    parser.add_argument("--problems", nargs="+", metavar="PROBLEM", help="problems")
    parser.add_argument("--solvers", nargs="+", metavar="SOLVER", help="solvers")
    parser.add_argument("--budget", type=whole_number, metavar="N", help="queries a run")
    parser.add_argument("--seeds", nargs="+", metavar="SEED", help="5 (which is 0 to 4), 3-7, or several (default: 5)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for everything")
    parser.add_argument("--jobs", type=whole_number, metavar="N", help="processes side by side (default: one a core)")
    parser.add_argument("--title", help="of the report")
    parser.add_argument("--parquet", action="store_true", help="write results.parquet too (needs pyarrow)")
    add_run_options(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run what is not finished yet, then write and print the results."""
    if arguments.parquet:
        store.check_parquet()
    return carry_out(
        _comparison(arguments),
        arguments.out,
        jobs=arguments.jobs,
        progress=not arguments.no_progress,
        command=shlex.join(["zotoolkit", *arguments.argv]),
        parquet=arguments.parquet,
    )


def carry_out(
    comparison: Comparison,
    folder: Path,
    *,
    jobs: int | None = None,
    progress: bool = True,
    command: str = "",
    parquet: bool = False,
) -> int:
    """Run or continue a comparison in a folder, write its report and print its table."""
    try:
        outcome = run_comparison(comparison, folder, jobs=jobs, progress=progress, command=command)
    except KeyboardInterrupt:
        complain(f"interrupted; the checkpoints are written. Go on with: zotoolkit resume {folder}")
        return INTERRUPTED
    if parquet:
        store.export_parquet(outcome.frame, folder / "results.parquet")
    if outcome.finished:
        results = load_results(folder)
        print(final_text(results), end="\n\n")
        publish(results)
    if outcome.failures:
        first = outcome.failures[0]
        complain(
            f"error: {len(outcome.failures)} of {outcome.cells} runs failed, the first one ({first.name}) with: "
            f"{(first.error or {}).get('message', '')} The same command tries them again; details are in "
            f"{folder / 'cells'}."
        )
        return FAILED
    return 0


def publish(results: Results) -> None:
    """Write figures and report, and print where they are; without the extra packages say how to get them."""
    print(f"results:  {results.folder / store.RESULTS_FILE}")
    try:
        pictures = draw_all(results)
        figures = write_pictures(pictures, results.folder)
        drawings = draw_problems(results)
        report = write_report(results, pictures, drawings)
    except MissingExtra as error:
        complain(f"no report: {error}")
        return
    print(f"figures:  {figures[0].parent}")
    if drawings:
        print(f"pictures: {results.folder / PICTURES}")
    print(f"report:   {report.resolve()}")


def _comparison(arguments: argparse.Namespace) -> Comparison:
    """Return what to compare: a suite or a file, if any, with the options on top."""
    if arguments.suite and arguments.spec:
        raise InvalidSetting("give a specification file or --suite, not both.")
    given: dict[str, Any] = {}
    if arguments.suite:
        given = suite(arguments.suite)
    elif arguments.spec:
        given = read_specification(arguments.spec)
    options = {
        "problems": arguments.problems,
        "solvers": arguments.solvers,
        "budget": arguments.budget,
        "seeds": None if arguments.seeds is None else " ".join(arguments.seeds),
        "device": arguments.device,
        "title": arguments.title,
        "checkpoint_seconds": arguments.checkpoint_seconds,
    }
    given.update({name: value for name, value in options.items() if value is not None})
    for name in ("problems", "solvers", "budget"):
        if name not in given:
            raise InvalidSetting(f"compare needs --{name}, or a specification file, or --suite NAME.")
    given["imports"] = [
        *given.get("imports", []),
        *(str(Path(name).resolve()) if name.endswith(".py") else name for name in arguments.imports),
    ]
    return Comparison.from_dict(given, arguments.spec.parent if arguments.spec else None)
