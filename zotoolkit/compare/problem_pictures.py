"""Asks the problems of a comparison for their pictures, with the points of all solvers and seeds."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from zotoolkit.compare import store
from zotoolkit.compare.cell import make_problem
from zotoolkit.compare.drawings import drawn, read_drawings, warn, write_drawings
from zotoolkit.compare.imports import import_all
from zotoolkit.compare.results import Results
from zotoolkit.compare.specification import Entry
from zotoolkit.errors import ResultsUnwritable
from zotoolkit.figures.drawing import Drawing


def draw_problems(results: Results) -> dict[str, list[Drawing]]:
    """Return the pictures of every problem that draws some, by its label, and write them into the results' folder.

    Warns:
        PicturesWarning: If a problem cannot be made or cannot draw, or the pictures cannot be written.
    """
    found = {entry.label: _draw(results, entry) for entry in results.comparison.problems if _draws(results, entry)}
    found = {label: pictures for label, pictures in found.items() if pictures}
    try:
        write_drawings(found, results.folder)
    except ResultsUnwritable as error:
        warn("this comparison in files", error)
    return found


def stored_or_drawn(results: Results) -> dict[str, list[Drawing]]:
    """Return the pictures that the folder holds, or draw them where it holds none."""
    stored = read_drawings(results.folder)
    return draw_problems(results) if stored is None else stored


def _draws(results: Results, entry: Entry) -> bool:
    return bool(results.header.get("problems", {}).get(entry.label, {}).get("draws"))


def _draw(results: Results, entry: Entry) -> list[Drawing]:
    try:
        points = _points(results, entry.label)
        if not points:
            return []
        import_all(results.comparison.imports)
        objective = make_problem(entry, results.comparison.device)
    except Exception as error:
        warn(entry.label, error)
        return []
    with objective:
        on_device = {
            solver: {seed: x.to(objective.device) for seed, x in seeds.items()} for solver, seeds in points.items()
        }
        return drawn(objective, entry.label, on_device)


def _points(results: Results, problem: str) -> Mapping[str, Mapping[int, Tensor]]:
    """Return the points of a problem's finished runs by solver and seed; those of runs that kept none are left out."""
    found: dict[str, dict[int, Tensor]] = {solver: {} for solver in results.solvers}
    for place in results.places:
        if place.cell.problem.label == problem and place.finished:
            point = store.read_point(place.folder)
            if point is not None:
                found[place.cell.solver.label][place.cell.seed] = point
    return {solver: dict(sorted(seeds.items())) for solver, seeds in found.items() if seeds}
