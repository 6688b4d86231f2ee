"""Results in long format: one row a point of a curve.

CSV is the format: it needs nothing beyond the core, can be read in thirty years, and a comparison's curves are small
(about a hundred rows a run). Numbers are written with all their digits and read back exactly. `export_parquet` makes a
copy for those who want one.

Every run writes `curve.csv`, `point.safetensors` and, last of all, `result.json` into a folder of its own, atomically;
a run counts as finished when its `result.json` is there. `results.csv` is all finished curves together.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from zotoolkit.compare.curve import METRIC
from zotoolkit.errors import CheckpointDamaged, CheckpointMissing, MissingExtra
from zotoolkit.files import read_json, write_bytes, write_json

COLUMNS = (
    "problem",
    "solver",
    "seed",
    "queries",
    "forward_equivalents",
    "seconds",
    "observed_best",
    "noise_free_best",
)
"""Columns that every results file has, in this order; `metric.NAME` columns follow."""

CURVE_FILE = "curve.csv"
POINT_FILE = "point.safetensors"
_POINT = "x"
RESULT_FILE = "result.json"
RESULTS_FILE = "results.csv"


def curve_frame(rows: Sequence[dict[str, float]], problem: str, solver: str, seed: int) -> pd.DataFrame:
    """Return a curve's points as rows of a results table.

    Args:
        rows: What `CurveRecorder.rows` holds.
        problem: Its label.
        solver: Its label.
        seed: The run's.
    """
    frame = pd.DataFrame(list(rows))
    frame.insert(0, "problem", problem)
    frame.insert(1, "solver", solver)
    frame.insert(2, "seed", seed)
    return _ordered(frame)


def write_curve(folder: Path, rows: Sequence[dict[str, float]], problem: str, solver: str, seed: int) -> None:
    """Write a run's curve.

    Raises:
        ResultsUnwritable: If it cannot be written.
    """
    write_frame(folder / CURVE_FILE, curve_frame(rows, problem, solver, seed))


def write_point(folder: Path, x: Tensor) -> None:
    """Write the `(d,)` point that a run recommends at its end.

    Raises:
        ResultsUnwritable: If it cannot be written.
    """
    write_bytes(folder / POINT_FILE, save({_POINT: x.detach().to("cpu", copy=True).contiguous()}))


def read_point(folder: Path) -> Tensor | None:
    """Read the `(d,)` point that a run recommended at its end; None if it kept none.

    Raises:
        CheckpointDamaged: If the file cannot be read.
    """
    path = folder / POINT_FILE
    try:
        return load(path.read_bytes())[_POINT]
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointDamaged(f"{path} is damaged ({error}); run it again.") from error


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write a run's result; from then on the run counts as finished.

    Raises:
        ResultsUnwritable: If it cannot be written.
    """
    write_json(folder / RESULT_FILE, result)


def is_finished(folder: Path) -> bool:
    """Whether the folder's run has finished."""
    return (folder / RESULT_FILE).is_file()


def read_result(folder: Path) -> dict[str, Any]:
    """Read a finished run's result.

    Raises:
        CheckpointMissing: If the run has not finished.
        CheckpointDamaged: If the file is no result.
    """
    return read_json(folder / RESULT_FILE, "finished run")


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a results table as CSV.

    Raises:
        ResultsUnwritable: If it cannot be written.
    """
    write_bytes(path, frame.to_csv(index=False, lineterminator="\n").encode())


def read_frame(path: Path) -> pd.DataFrame:
    """Read a results table.

    Raises:
        CheckpointMissing: If there is none.
        CheckpointDamaged: If it cannot be read or lacks a column.
    """
    try:
        # As text, since a label such as "NA" is a label, and since not every version of pandas reads numbers exactly.
        frame = pd.read_csv(io.BytesIO(path.read_bytes()), dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise CheckpointMissing(f"there are no results at {path}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointDamaged(f"{path} is no results file ({error}).") from error
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        raise CheckpointDamaged(f"{path} is no results file: it has no column {missing[0]!r}.")
    for column in frame.columns[2:]:
        kind = np.int64 if column in ("seed", "queries") else np.float64
        try:
            frame[column] = np.asarray(frame[column].replace("", "nan"), dtype=str).astype(kind)
        except ValueError as error:
            raise CheckpointDamaged(f"{path} is no results file: in column {column!r}, {error}.") from error
    return frame


def read_curves(folders: Iterable[Path]) -> pd.DataFrame:
    """Return the curves of all finished runs as one table.

    Raises:
        CheckpointDamaged: If one cannot be read.
    """
    frames = [read_frame(folder / CURVE_FILE) for folder in folders if is_finished(folder)]
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    return _ordered(pd.concat(frames, ignore_index=True))


def keep(frame: pd.DataFrame, wanted: np.ndarray | pd.Series) -> pd.DataFrame:
    """Return the rows where `(n,)` wanted is true."""
    return cast("pd.DataFrame", frame.loc[np.asarray(wanted, dtype=bool)])


def select(frame: pd.DataFrame, **equal: str | int) -> pd.DataFrame:
    """Return the rows whose columns equal what is given, such as `select(frame, problem="Sphere", seed=3)`."""
    wanted = np.ones(len(frame), dtype=bool)
    for column, value in equal.items():
        wanted &= np.asarray(frame[column] == value)
    return keep(frame, wanted)


def numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as `(n,)` float64."""
    return np.asarray(frame[column], dtype=float)


def metric_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold metrics."""
    return [str(column) for column in frame.columns if str(column).startswith(METRIC)]


def check_parquet() -> None:
    """Make sure that Parquet can be written.

    Raises:
        MissingExtra: If pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401 - pandas writes through it
    except ImportError as error:
        raise MissingExtra("Parquet needs: pip install 'zotoolkit[parquet]'.") from error


def export_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a results table as Parquet.

    Raises:
        MissingExtra: If pyarrow is not installed.
        ResultsUnwritable: If it cannot be written.
    """
    check_parquet()
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the fixed columns first and the metrics sorted."""
    return frame.reindex(columns=[*COLUMNS, *sorted(metric_columns(frame))])
