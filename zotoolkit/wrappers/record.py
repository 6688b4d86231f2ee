"""Every query on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.laws import law_of
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.status import Status, StepInfo
from zotoolkit.wrappers.base import Wrapper
from zotoolkit.wrappers.record_files import COLUMNS, Block, CsvFile, ParquetParts, RecordFile, read_record

_CSV_POINT_COLUMNS = 1000
_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 1 << 14

__all__ = ["Record", "read_record"]

_Step = tuple[Tensor, bool, bool, StepInfo]


class Record(Wrapper):
    """Writes a row for every query, a step at a time, into a CSV file or a folder of Parquet parts.

    A step is with the operating system before its answer is returned, so it survives a SIGKILL (not a power cut).
    Memory stays bounded. Columns: `run` (resets so far), `step`, `size` (queries of the step), `context`, `query`
    (position in the step), `value`, `status`, `kind` of the batch, `scale`, `coordinate`, `seed`, `law`, `error`, and,
    if asked for, the point. Losses are those that pass here; a retry below is not seen, a repeated one above is.

    If a step cannot be written, `ResultsUnwritable` is raised and nothing is lost: the step stays in memory, and the
    next `step`, `reset` or `close` writes it before anything else. The same batch asked again then gets the answer that
    has been paid for, without another query.

    Args:
        objective: Whose queries to record.
        path: Ends in `.csv`, or in `.parquet` for a folder of parts that `pandas.read_parquet` reads as one table.
        points: Whether to write the points out: columns x0, x1, ... in CSV, where d may be 1,000 at most, or a list
            column x in Parquet.
        append: Whether to add to a record that is there already, as a resumed run must.

    Raises:
        InvalidSetting: If the path has another ending, holds a record and append is False, or d is too large for CSV.
        MissingExtra: If the path ends in .parquet and pyarrow is not installed.
        ResultsUnwritable: If the folder cannot be written.

    Examples:
        >>> import tempfile, torch, zotoolkit
        >>> folder = Path(tempfile.mkdtemp())
        >>> plain = zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2)
        >>> objective = Record(plain, folder / "queries.csv", points=True)
        >>> _ = objective.reset(seed=0)
        >>> _ = objective.step(zotoolkit.DenseBatch.at(torch.eye(2, dtype=torch.float64)))
        >>> read_record(folder / "queries.csv")[["step", "query", "value", "status", "x0", "x1"]]
           step  query  value status   x0   x1
        0     0      0    1.0     OK  1.0  0.0
        1     0      1    1.0     OK  0.0  1.0
    """

    def __init__(
        self,
        objective: BlackBoxObjective,
        path: str | os.PathLike[str],
        *,
        points: bool = False,
        append: bool = False,
    ) -> None:
        super().__init__(objective)
        if not isinstance(path, (str, os.PathLike)):
            raise InvalidSetting(f"path must be a path that ends in .csv or .parquet, got {brief(path)}.")
        for name, flag in (("points", points), ("append", append)):
            if not isinstance(flag, bool):
                raise InvalidSetting(f"{name} must be True or False, got {brief(flag)}.")
        self.path = Path(path)
        self.points = points
        self._file = self._open(append)
        self._run = self._file.last_run + 1
        self._step = 0
        self._pending: tuple[QueryBatch, _Step] | None = None

    def _open(self, append: bool) -> RecordFile:
        if self.path.suffix == ".parquet":
            dtype = str(self.dtype).removeprefix("torch.")
            return ParquetParts(self.path, self.dim if self.points else None, dtype, append)
        if self.path.suffix != ".csv":
            raise InvalidSetting(f"path must end in .csv or .parquet, got {str(self.path)!r}.")
        if self.points and self.dim > _CSV_POINT_COLUMNS:
            raise InvalidSetting(
                f"points in CSV take a column a coordinate, {_CSV_POINT_COLUMNS} at most, got d={self.dim}; "
                "record to .parquet, or leave the points out."
            )
        coordinates = tuple(f"x{i}" for i in range(self.dim)) if self.points else ()
        return CsvFile(self.path, (*COLUMNS, *coordinates), append)

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        self._flush()
        start = super().reset(seed=seed, options=options)
        if self._step:
            self._run, self._step = self._run + 1, 0
        return start

    @override
    def close(self) -> None:
        try:
            self._flush()
        finally:
            super().close()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "run": self._run, "step": self._step}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._run, self._step = state["run"], state["step"]

    @override
    def _answer(self, batch: QueryBatch) -> _Step:
        if self._pending is not None:
            waiting, answer = self._pending
            self._flush()
            if waiting is batch:
                return answer
        answer = super()._answer(batch)
        if len(batch):
            self._pending = batch, answer
            self._flush()
        return answer

    def _flush(self) -> None:
        """Write the step that waits, if one does."""
        if self._pending is None:
            return
        batch, (values, _, _, info) = self._pending
        self._file.write(self._blocks(batch, values, info))
        self._pending = None
        self._step += 1

    def _blocks(self, batch: QueryBatch, values: Tensor, info: StepInfo) -> Iterator[Block]:
        rows = _BLOCK_ROWS
        if self.points:
            rows = max(1, min(rows, _BLOCK_BYTES // (batch.dim * batch.base.element_size())))
        for start in range(0, len(batch), rows):
            yield self._block(batch[start : start + rows], values[start : start + rows], info, start)

    def _block(self, batch: QueryBatch, values: Tensor, info: StepInfo, start: int) -> Block:
        count = len(batch)
        nothing: list[Any] = [None] * count
        block: Block = {
            "run": [self._run] * count,
            "step": [self._step] * count,
            "size": [len(info["status"])] * count,
            "context": [batch.context] * count,
            "query": list(range(start, start + count)),
            "value": values.tolist(),
            "status": [Status(status).name for status in info["status"][start : start + count].tolist()],
            "kind": [type(batch).__name__.removesuffix("Batch").lower()] * count,
            "scale": batch.scale.tolist(),
            "coordinate": batch.index.tolist() if isinstance(batch, CoordinateBatch) else nothing,
            "seed": batch.seed.tolist() if isinstance(batch, SeededBatch) else nothing,
            "law": [law_of(batch.law).value] * count if isinstance(batch, SeededBatch) else nothing,
            # One line each, so that a file cut anywhere is cut between two queries or inside one.
            "error": [" ".join(info["errors"].get(start + row, "").split()) or None for row in range(count)],
        }
        if self.points:
            points = batch.points()
            if isinstance(self._file, CsvFile):
                block |= {f"x{i}": column.tolist() for i, column in enumerate(points.T)}
            else:
                block["x"] = points.cpu().numpy()
        return block
