"""Compare solvers: problems x solvers x seeds in parallel, results, statistics, figures, report."""

from zotoolkit.compare.cell import Cell, run_cell
from zotoolkit.compare.runner import Outcome, read_comparison, run_comparison
from zotoolkit.compare.specification import Comparison, Entry

__all__ = ["Cell", "Comparison", "Entry", "Outcome", "read_comparison", "run_cell", "run_comparison"]
