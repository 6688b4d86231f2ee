"""What a folder of results holds, read back for tables, figures and the report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from zotoolkit.compare import statistics, store
from zotoolkit.compare.cell import RUN_FILE, Cell
from zotoolkit.compare.grid import Place, places
from zotoolkit.compare.runner import COMPARISON_FILE, read_comparison
from zotoolkit.compare.specification import Comparison
from zotoolkit.errors import CheckpointMissing


@dataclass(frozen=True)
class Results:
    """A comparison, or a single run as a comparison of one cell.

    Attributes:
        folder: Where it lies.
        comparison: What was compared.
        header: Command, date, environment and facts about the problems, as far as known.
        frame: The finished runs' curves.
        failures: Cells whose last attempt failed.
        unfinished: Cells that have neither finished nor failed.
        places: All cells.
    """

    folder: Path
    comparison: Comparison
    header: dict[str, Any]
    frame: pd.DataFrame
    failures: list[Place]
    unfinished: list[Place]
    places: list[Place]

    @property
    def problems(self) -> list[str]:
        """Labels of the problems."""
        return [entry.label for entry in self.comparison.problems]

    @property
    def solvers(self) -> list[str]:
        """Labels of the solvers, references included."""
        return [entry.label for entry in self.comparison.solvers]

    @property
    def references(self) -> list[str]:
        """Labels of the solvers that are reference lines."""
        return [entry.label for entry in self.comparison.solvers if entry.reference]

    @property
    def ranked(self) -> list[str]:
        """Labels of the solvers that compete."""
        return [entry.label for entry in self.comparison.solvers if not entry.reference]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The final table; see `statistics.final_table`."""
        return statistics.final_table(
            self.frame,
            solvers=self.solvers,
            problems=self.problems,
            references=self.references,
            expected=len(self.comparison.seeds),
        )

    @cached_property
    def dimensions(self) -> dict[str, int]:
        """Dimension of every problem of which a run has finished, by label."""
        found = {label: facts.get("dimension") for label, facts in self.header.get("problems", {}).items()}
        return {label: int(dimension) for label, dimension in found.items() if dimension}

    @cached_property
    def minima(self) -> dict[str, float]:
        """The minimum of every problem that says it (`metadata["optimum_value"]`), by label."""
        found = {
            label: facts.get("metadata", {}).get("optimum_value")
            for label, facts in self.header.get("problems", {}).items()
        }
        return {label: float(value) for label, value in found.items() if isinstance(value, (int, float))}

    def of(self, problem: str, solver: str | None = None) -> pd.DataFrame:
        """Return the rows of a problem, or of a solver on a problem."""
        rows = store.select(self.frame, problem=problem)
        return rows if solver is None else store.select(rows, solver=solver)


def load_results(folder: str | Path) -> Results:
    """Read the finished runs of a folder that `zotoolkit compare` or `zotoolkit run` wrote.

    Raises:
        CheckpointMissing: If the folder holds neither, or nothing in it has finished yet.
        CheckpointDamaged, CheckpointVersion: If it cannot be read.
    """
    folder = Path(folder)
    if (folder / COMPARISON_FILE).exists():
        comparison, header = read_comparison(folder)
        everything = places(comparison, folder)
    elif (folder / RUN_FILE).exists():
        comparison, header, everything = _single(folder)
    elif not folder.is_dir():
        raise CheckpointMissing(f"there is no folder {folder}; name one that `zotoolkit compare --out` or `run` wrote.")
    else:
        raise CheckpointMissing(
            f"{folder} holds no results (neither {COMPARISON_FILE} nor {RUN_FILE}); name a folder that "
            "`zotoolkit compare --out` or `zotoolkit run --out` wrote."
        )
    frame = store.read_curves(place.folder for place in everything)
    if frame.empty:
        failed = sum(place.error is not None for place in everything)
        said = f"all {failed} runs that ended have failed" if failed else "no run in it has finished yet"
        raise CheckpointMissing(f"there is nothing to show in {folder}: {said}.")
    failures = [place for place in everything if place.error is not None]
    unfinished = [place for place in everything if not place.finished and place.error is None]
    return Results(folder, comparison, header, frame, failures, unfinished, everything)


def _single(folder: Path) -> tuple[Comparison, dict[str, Any], list[Place]]:
    """Read the folder of a single run as a comparison of one cell."""
    cell = Cell.read(folder)
    comparison = Comparison(
        problems=(cell.problem,),
        solvers=(cell.solver,),
        budget=cell.budget,
        seeds=(cell.seed,),
        device=cell.device,
        imports=cell.imports,
    )
    place = Place(cell, folder)
    result = store.read_result(folder) if place.finished else {}
    facts = {name: result[name] for name in ("dimension", "draws") if name in result}
    return comparison, {"problems": {cell.problem.label: facts}}, [place]
