"""`zotoolkit describe`: a problem or a solver with its settings."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from zotoolkit.cli.common import add_command, add_imports
from zotoolkit.compare.imports import check_imports
from zotoolkit.compare.settings import format_value, parse_pairs
from zotoolkit.compare.text import align
from zotoolkit.errors import DataMissing, UnknownId, UnknownSetting, ZotoolkitError, did_you_mean
from zotoolkit.problem_registry import make, objectives
from zotoolkit.registration import EntrySpec
from zotoolkit.solver_registry import solvers


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "describe", execute, "tell what a problem or a solver is and which settings it has")
    parser.add_argument("id", metavar="ID", help="such as Functions/Sphere-v0 or ZO/SGD-CGE-v0")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="describe a problem so set"
    )
    add_imports(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print what is known."""
    check_imports(arguments.imports)
    kind, spec = _find(arguments.id)
    build = spec.load()
    documentation = inspect.getdoc(build) or ""
    summary, _, rest = documentation.partition("\n\n")
    paragraphs = [f"{spec.id} ({kind})", spec.description, _unwrapped(summary), *_body(rest)]
    print("\n\n".join(textwrap.fill(part, 100) for part in dict.fromkeys(paragraphs) if part))
    print("\nSettings\n" + (_settings(spec, build) or "  none"))
    if kind == "problem":
        print("\nSpace\n" + _space(spec, arguments.settings))
    return 0


def _find(id: str) -> tuple[str, EntrySpec]:
    for kind, registry in (("problem", objectives), ("solver", solvers)):
        try:
            return kind, registry.spec(id)
        except UnknownId:
            continue
    known = [spec.id for registry in (objectives, solvers) for spec in registry.specs()]
    known += [re.sub(r"-v\d+$", "", one) for one in known]
    raise UnknownId(f"no problem or solver {id!r}.{did_you_mean(id, known)} `zotoolkit list` shows all.")


def _settings(spec: EntrySpec, build: Callable[..., Any]) -> str:
    told = _argument_texts(build)
    rows = []
    for name, parameter in inspect.signature(build).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name in spec.kwargs:
            default = format_value(spec.kwargs[name])
        else:
            default = "required" if parameter.default is parameter.empty else format_value(parameter.default)
        rows.append((f"  {name}", default, told.get(name, "")))
    if not rows:
        return ""
    left = align([(name, default) for name, default, _ in rows]).splitlines()
    return "\n".join(f"{line}  {text}".rstrip() for line, (_, _, text) in zip(left, rows, strict=True))


def _space(spec: EntrySpec, pairs: list[str]) -> str:
    try:
        with make(spec.id, **parse_pairs(pairs)) as objective:
            low, high = objective.space.low, objective.space.high
            rows = {"dimension": f"{objective.dim:,}", "bounds": _bounds(low, high), "dtype": str(low.dtype)}
            rows |= {name: _short(value) for name, value in objective.metadata.items()}
            width = max(map(len, rows))
            return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())
    except UnknownSetting as error:
        if pairs:
            raise
        return f"  depends on the settings: {error}"
    except DataMissing as error:
        return f"  depends on the data: {error}"
    except ZotoolkitError:
        if pairs:
            raise
        return "  depends on the settings; name them with --set."


def _bounds(low: np.ndarray, high: np.ndarray) -> str:
    if np.isinf(low).all() and np.isinf(high).all():
        return "none"
    if (low == low[0]).all() and (high == high[0]).all():
        return f"[{low[0]:g}, {high[0]:g}] in every coordinate"
    return f"from [{low.min():g}, {high.min():g}] to [{low.max():g}, {high.max():g}], by coordinate"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _unwrapped(text: str) -> str:
    return " ".join(text.split())


def _body(rest: str) -> list[str]:
    """Return a docstring's paragraphs before its first section; indented ones, which are formulas, left out."""
    found = []
    for part in rest.split("\n\n"):
        if re.match(r"[A-Z]\w+:\s*(\n|$)", part):
            break
        if not part.startswith((" ", ">>>")):
            found.append(_unwrapped(part))
    return found


def _argument_texts(build: Callable[..., Any]) -> dict[str, str]:
    """Return what is said of each argument, by a class's own docstring or else by that of a class it derives from."""
    sources = inspect.getmro(build) if isinstance(build, type) else (build,)
    found: dict[str, str] = {}
    for source in reversed(sources):
        found |= _argument_section(inspect.cleandoc(source.__doc__ or ""))
    return found


def _argument_section(documentation: str) -> dict[str, str]:
    """Return what the Args section of a Google docstring says of each argument."""
    match = re.search(r"^Args:\n(?P<lines>(?:[ \t]+.*\n?|\n)+)", documentation, re.MULTILINE)
    if match is None:
        return {}
    found: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(match["lines"]).splitlines():
        head = re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line)
        if head:
            name = head[1]
            found[name] = head[2]
        elif name and line.startswith(" "):
            found[name] += " " + line.strip()
        elif not line.strip():
            name = ""
    return found
