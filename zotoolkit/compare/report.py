"""One HTML page with everything: figures inline, no request to anywhere, light and dark."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zotoolkit.compare import statistics, text
from zotoolkit.compare.grid import Place
from zotoolkit.compare.plots import Picture
from zotoolkit.compare.results import Results
from zotoolkit.compare.store import keep, metric_columns, numbers, select
from zotoolkit.errors import MissingExtra
from zotoolkit.figures.drawing import Drawing
from zotoolkit.files import write_bytes

REPORT_FILE = "report.html"
_WIDE = 1300  # pixels: a picture wider than the curves' files has a row to itself
_TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"


def write_report(
    results: Results, pictures: Sequence[Picture], drawings: Mapping[str, Sequence[Drawing]] | None = None
) -> Path:
    """Write the page into the results' folder.

    Args:
        results: What to report.
        pictures: What `plots.draw_all` returned.
        drawings: What the problems drew, by their labels.

    Returns:
        The page's path.

    Raises:
        MissingExtra: If Jinja2 is not installed.
        ResultsUnwritable: If it cannot be written.
    """
    path = results.folder / REPORT_FILE
    write_bytes(path, render(results, pictures, drawings).encode())
    return path


def render(
    results: Results, pictures: Sequence[Picture], drawings: Mapping[str, Sequence[Drawing]] | None = None
) -> str:
    """Return the page."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtra("the report needs Jinja2: pip install 'zotoolkit[plot]'.") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(**_content(results, pictures), drawings=_drawings(results, drawings or {}))


def _content(results: Results, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Return what the template shows, as plain data."""
    comparison = results.comparison
    ranked = len(results.ranked) > 1
    return {
        "title": comparison.title or _title(results),
        "headline": _headline(results) if ranked else [],
        "comparison": comparison,
        "seeds": len(comparison.seeds),
        "problems": [_problem(results, problem, pictures) for problem in results.problems],
        "profiles": [picture for picture in pictures if not picture.problem],
        "ranks": statistics.overall_ranks(results.table) if ranked and len(results.problems) > 1 else {},
        "few_seeds": len(comparison.seeds) < statistics.FEWEST_SEEDS_FOR_TESTS,
        "fewest_seeds": statistics.FEWEST_SEEDS_FOR_TESTS,
        "forwards": statistics.forwards_differ(results.table),
        "references": results.references,
        "entries": _entries(results),
        "failures": [_failure(results, place) for place in results.failures],
        "unfinished": [place.name for place in results.unfinished],
        "cells": len(comparison.problems) * len(comparison.solvers) * len(comparison.seeds),
        "date": results.header.get("date", ""),
        "command": results.header.get("command", ""),
        "environment": results.header.get("environment", {}),
        "specification": json.dumps(comparison.to_dict(), indent=2),
    }


def _title(results: Results) -> str:
    if len(results.solvers) == 1:
        return f"{results.solvers[0]} on {', '.join(results.problems)}"
    if len(results.problems) == 1:
        return f"{len(results.ranked)} solvers on {results.problems[0]}"
    return f"{len(results.ranked)} solvers on {len(results.problems)} problems"


def _headline(results: Results) -> list[str]:
    """Return, per problem, who has the lowest median and whose interval overlaps, in words."""
    said = []
    for problem in results.problems:
        rows = select(results.table, problem=problem)
        best = keep(rows, rows["best"])
        if not len(best):
            continue
        near = list(keep(rows, rows["overlap"])["solver"])
        words = ("interval", "overlaps") if len(near) == 1 else ("intervals", "overlap")
        tail = f"; the {words[0]} of {_and(near)} {words[1]} its own" if near else ""
        said.append(f"{problem}: {best['solver'].iloc[0]} has the lowest median loss{tail}.")
    return said


def _problem(results: Results, problem: str, pictures: Sequence[Picture]) -> dict[str, Any]:
    rows = text.ordered(results.table, problem)
    metrics = [column for column in metric_columns(rows) if not np.isnan(numbers(rows, column)).all()]
    column = str(rows["column"].iloc[0])
    champions = [str(solver) for solver in keep(rows, rows["best"])["solver"]]
    return {
        "name": problem,
        "dimension": results.dimensions.get(problem),
        "pictures": [picture for picture in pictures if picture.problem == problem],
        "true": column == "noise_free_best",
        "metrics": [text.metric_name(metric) for metric in metrics],
        "rows": [_row(row, metrics) for row in rows.to_dict("records")],
        "champion": champions[0] if champions else None,
        "pairings": _pairings(results, problem, column, champions[0]) if champions else [],
    }


def _drawings(results: Results, drawings: Mapping[str, Sequence[Drawing]]) -> list[dict[str, Any]]:
    """Return every problem with the pictures that it drew, as data that the page holds itself."""
    found = []
    for problem in results.problems:
        shown = [
            {
                "address": f"data:image/{picture.ending};base64,{base64.b64encode(picture.content).decode()}",
                "caption": picture.caption,
                "width": picture.size[0],
                "height": picture.size[1],
                "wide": picture.size[0] > _WIDE,
            }
            for picture in drawings.get(problem, ())
        ]
        if shown:
            found.append({"name": problem, "pictures": shown})
    return found


def _row(row: Mapping[Any, Any], metrics: Sequence[str]) -> dict[str, Any]:
    ran = bool(row["seeds"])
    return {
        "solver": row["solver"],
        "reference": bool(row["reference"]),
        "best": bool(row["best"]),
        "overlap": bool(row["overlap"]),
        "seeds": int(row["seeds"]),
        "median": text.loss(float(row["median"])) if ran else "no run",
        "interval": text.interval(row) if row["seeds"] > 1 else "",
        "metrics": [text.metric(float(row[metric])) for metric in metrics],
        "rank": "" if math.isnan(row["rank"]) else f"{row['rank']:.1f}",
        "queries": text.count(float(row["queries"])),
        "forwards": text.count(float(row["forward_equivalents"])),
        "seconds": text.seconds(float(row["seconds"])),
    }


def _pairings(results: Results, problem: str, column: str, champion: str) -> list[dict[str, Any]]:
    last = statistics.final_rows(results.of(problem))
    others = [solver for solver in results.ranked if solver != champion]
    found = statistics.pairings(last, column, champion, others)
    return [
        {
            "other": other,
            "better": pairing.better,
            "equal": pairing.equal,
            "worse": pairing.worse,
            "p": None if pairing.p is None else f"{pairing.p:.2g}",
        }
        for other, pairing in found.items()
    ]


def _entries(results: Results) -> list[dict[str, Any]]:
    """Return every solver and problem with all settings, those that were given marked."""
    found = []
    for kind, entries in (("solver", results.comparison.solvers), ("problem", results.comparison.problems)):
        stored = results.header.get(f"{kind} settings", {})
        for entry in entries:
            settings = stored.get(entry.label, {key: str(value) for key, value in entry.settings.items()})
            found.append(
                {
                    "kind": kind,
                    "label": entry.label,
                    "id": entry.id,
                    "given": {key: value for key, value in settings.items() if key in entry.settings},
                    "defaults": {key: value for key, value in settings.items() if key not in entry.settings},
                }
            )
    return found


def _failure(results: Results, place: Place) -> dict[str, Any]:
    error = place.error or {}
    return {
        "name": place.name,
        "message": error.get("message", ""),
        "kind": error.get("kind", ""),
        "details": error.get("details", ""),
        "folder": str(place.folder.relative_to(results.folder)),
    }


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
