"""Run a benchmark: print its table, write its file, end with one line `NAME ratio=... goal=...`.

    python benchmarks/run.py --list
    python benchmarks/run.py vmap-engine [--quick] [--device cuda] [--out FOLDER]
    python benchmarks/run.py --all

A benchmark is a module beside this one with a function `run(options) -> Report`; its file's name is its own.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
_NO_BENCHMARKS = {"run", "harness", "block_loop"}


def names() -> dict[str, str]:
    """Return each benchmark's name and its first line of documentation, without importing any."""
    found: dict[str, str] = {}
    for path in sorted(HERE.glob("*.py")):
        if path.stem not in _NO_BENCHMARKS:
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem.replace("_", "-")] = doc.partition("\n")[0]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names; return the exit code, 0 unless it could not be run."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Side-by-side measurements.")
    parser.add_argument("name", nargs="?", help="which benchmark")
    parser.add_argument("--list", action="store_true", help="name all benchmarks")
    parser.add_argument("--all", action="store_true", help="run all benchmarks")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for the JSON file")
    given = parser.parse_args(arguments)
    known = names()
    if given.list:
        width = max(map(len, known))
        for name, line in known.items():
            print(f"{name:<{width}}  {line}")
        return 0
    if given.all == (given.name is not None):
        parser.error(f"name one benchmark, or pass --all; there is {', '.join(known)}")
    if not given.all and given.name not in known:
        parser.error(f"no benchmark {given.name!r}; there is {', '.join(known)}")

    import harness
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    options = harness.Options(quick=given.quick, device=given.device)
    for name in known if given.all else (given.name,):
        try:
            report = importlib.import_module(name.replace("-", "_")).run(options)
        except harness.Unavailable as reason:
            if not given.all:
                parser.error(f"{name} cannot run here: {reason}")
            print(f"{name} cannot run here: {reason}", flush=True)
            continue
        harness.print_table(report)
        print(f"written to {harness.write_json(name, report, options, given.out)}")
        ratio, goal = report.headline()
        incomplete = f" incomplete={len(report.missing)}" if report.missing else ""
        print(f"{name} ratio={ratio:.3g} goal={goal}{incomplete}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
