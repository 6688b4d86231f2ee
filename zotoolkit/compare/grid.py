"""The cells of a comparison: every solver on every problem with every seed, each with a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zotoolkit.compare import store
from zotoolkit.compare.cell import Cell
from zotoolkit.compare.specification import Comparison, slug
from zotoolkit.errors import CheckpointError
from zotoolkit.files import read_json

CELLS = "cells"
ERROR_FILE = "error.json"
LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Place:
    """A cell and its folder."""

    cell: Cell
    folder: Path

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.cell.problem.label} / {self.cell.solver.label} / seed {self.cell.seed}"

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return store.is_finished(self.folder)

    @property
    def error(self) -> dict[str, str] | None:
        """Why its last attempt failed: "message", "kind", "details"; None if it did not."""
        if self.finished:
            return None
        try:
            return read_json(self.folder / ERROR_FILE, "failure")
        except CheckpointError:
            return None


def places(comparison: Comparison, folder: Path) -> list[Place]:
    """Return all cells, seeds outermost, so that an early look at the results sees every solver and problem."""
    return [
        Place(
            Cell(
                problem=problem,
                solver=solver,
                seed=seed,
                budget=comparison.budget,
                device=comparison.device,
                imports=comparison.imports,
                checkpoint_seconds=comparison.checkpoint_seconds,
            ),
            folder / CELLS / slug(problem.label) / slug(solver.label) / f"seed-{seed}",
        )
        for seed in comparison.seeds
        for problem in comparison.problems
        for solver in comparison.solvers
    ]
