"""What `Record` writes into: a CSV file that grows, or a folder of Parquet parts."""

from __future__ import annotations

import csv
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, MissingExtra, ResultsUnwritable

Block = dict[str, Any]
"""Some rows of a step: a list for each column; the Parquet column x is an `(n, d)` array."""

_PARTS_MERGED = 64
_TAIL = 1 << 20

_TYPES = {
    "run": "int64",
    "step": "int64",
    "size": "int64",
    "context": "int64",
    "query": "int64",
    "value": "float64",
    "status": "string",
    "kind": "string",
    "scale": "float64",
    "coordinate": "int64",
    "seed": "int64",
    "law": "string",
    "error": "string",
}
COLUMNS = tuple(_TYPES)


class RecordFile(ABC):
    """Takes whole steps: after `write` returns, the step is there even if the process is killed.

    Attributes:
        last_run: Highest run number that was there before, -1 if none.
    """

    last_run: int

    @abstractmethod
    def write(self, blocks: Iterator[Block]) -> None:
        """Add a step, all of it or nothing.

        Raises:
            ResultsUnwritable: If the disk is full or read-only.
        """


class CsvFile(RecordFile):
    """A CSV file, opened anew for each step."""

    def __init__(self, path: Path, columns: tuple[str, ...], append: bool) -> None:
        self._path = path
        self._header = ",".join(columns).encode() + b"\n"
        self.last_run = -1
        with _writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size:
                _check_append(path, append)
                self._continue()
            else:
                path.write_bytes(self._header)

    def _continue(self) -> None:
        """Check the header, cut off a line that a kill has torn, and find the last run."""
        with self._path.open("r+b") as file:
            header = file.readline()
            if header != self._header:
                raise InvalidSetting(
                    f"{self._path} has other columns than this record would; choose another path. It has "
                    f"{_shorten(header)}, this record {_shorten(self._header)}."
                )
            size = file.seek(0, os.SEEK_END)
            file.seek(max(len(header), size - _TAIL))
            tail = file.read()
            whole = tail[: tail.rfind(b"\n") + 1]
            file.truncate(size - len(tail) + len(whole))
            if lines := whole.splitlines():
                self.last_run = int(lines[-1].split(b",", 1)[0])

    @override
    def write(self, blocks: Iterator[Block]) -> None:
        with _writable(self._path):
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                size = os.fstat(file).st_size
                try:
                    for block in blocks:
                        _write_all(file, _csv_lines(block))
                except BaseException:
                    os.ftruncate(file, size)
                    raise
            finally:
                os.close(file)


class ParquetParts(RecordFile):
    """A folder of Parquet files: one a step, every 64 of them merged into one.

    A Parquet file is unreadable without its footer, so a file that grows would not survive a kill. Each part is written
    under another name and renamed when it is whole.
    """

    def __init__(self, path: Path, dim: int | None, dtype: str, append: bool) -> None:
        self._arrow, self._parquet = _import_arrow()
        self._path = path
        self._schema = self._make_schema(dim, dtype)
        self.last_run = -1
        with _writable(path):
            path.mkdir(parents=True, exist_ok=True)
            parts = self._parts()
            if parts:
                _check_append(path, append)
                self._continue(parts)
            # A folder that cannot be written is known before anything is spent.
            self._unfinished.write_bytes(b"")
            self._unfinished.unlink()
        parts = self._parts()
        self._next = _span(parts[-1])[1] + 1 if parts else 0
        self._single = sum(_span(part)[0] == _span(part)[1] for part in parts)

    @property
    def _unfinished(self) -> Path:
        return self._path / ".unfinished"  # readers of a folder pass over names with a dot

    def _make_schema(self, dim: int | None, dtype: str) -> Any:
        fields = [(name, getattr(self._arrow, kind)()) for name, kind in _TYPES.items()]
        if dim is not None:
            fields.append(("x", self._arrow.list_(getattr(self._arrow, dtype)(), dim)))
        return self._arrow.schema(fields)

    def _parts(self) -> list[Path]:
        return sorted(self._path.glob("part-*.parquet"))

    def _continue(self, parts: list[Path]) -> None:
        schema = self._parquet.read_schema(parts[-1])
        if not schema.equals(self._schema):
            raise InvalidSetting(
                f"{self._path} has other columns than this record would; choose another path. It has "
                f"{_shorten(schema.names)}, this record {_shorten(self._schema.names)}."
            )
        for part in set(parts) - set(_newest(parts)):  # a kill between merging and deleting leaves steps twice
            part.unlink()
        runs = [self._parquet.read_table(part, columns=["run"])["run"] for part in self._parts()]
        self.last_run = max(int(run.to_numpy().max(initial=-1)) for run in runs)

    @override
    def write(self, blocks: Iterator[Block]) -> None:
        tables = map(self._table, blocks)
        with _writable(self._path):
            self._write_part(tables, self._next, self._next)
        self._next += 1
        self._single += 1
        if self._single >= _PARTS_MERGED:
            with suppress(OSError):  # merging is tidiness: on a full disk the parts stay as they are
                self._merge()

    def _table(self, block: Block) -> Any:
        columns: dict[str, Any] = dict(block)
        if "x" in columns:
            rows = self._arrow.array(columns["x"].reshape(-1))
            columns["x"] = self._arrow.FixedSizeListArray.from_arrays(rows, columns["x"].shape[1])
        return self._arrow.table(columns, schema=self._schema)

    def _write_part(self, tables: Iterator[Any], first: int, last: int) -> None:
        try:
            with self._parquet.ParquetWriter(self._unfinished, self._schema) as writer:
                for table in tables:
                    writer.write_table(table)
            self._unfinished.replace(self._path / f"part-{first:012d}-{last:012d}.parquet")
        except BaseException:
            with suppress(OSError):
                self._unfinished.unlink(missing_ok=True)
            raise

    def _merge(self) -> None:
        """Merge the single parts into one, a row group at a time."""
        singles = [part for part in self._parts() if _span(part)[0] == _span(part)[1]]

        def tables() -> Iterator[Any]:
            for part in singles:
                with self._parquet.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        yield file.read_row_group(group)

        self._write_part(tables(), _span(singles[0])[0], _span(singles[-1])[1])
        for part in singles:
            part.unlink()
        self._single = 0


def read_record(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what `Record` wrote, whole steps only, as a table with a row a query.

    A step that a kill has cut short is left out. A step that a resumed run did again is there once.

    Args:
        path: The CSV file or the folder of Parquet parts.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        MissingExtra: If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        _import_arrow()
        parts = _newest(path.glob("part-*.parquet"))
        if not parts:
            raise FileNotFoundError(f"there is no record at {path}.")
        table = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    else:
        text = path.read_bytes()
        texts = io.BytesIO(text[: text.rfind(b"\n") + 1])
        table = pd.read_csv(texts, dtype=str)
        for name in table.columns:
            kind = _TYPES.get(name, "float64")
            # float() is exact; the CSV reader's own parser is not in every version of pandas.
            table[name] = table[name].astype("Int64" if name in ("coordinate", "seed") else kind)
    table = table.drop_duplicates(["run", "step", "query"], keep="last")
    whole = table.groupby(["run", "step"])["query"].transform("size") == table["size"]
    return table.loc[whole].reset_index(drop=True)


def _import_arrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtra(
            "Parquet needs pyarrow: pip install 'zotoolkit[parquet]', or give a path that ends in .csv."
        ) from error


def _check_append(path: Path, append: bool) -> None:
    if not append:
        raise InvalidSetting(f"{path} holds a record already; pass append=True to add to it, or choose another path.")


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsUnwritable(
            f"cannot write {path}: {error.strerror or error}. Free space or choose a folder that can be written; "
            "what was recorded so far is there."
        ) from error


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _csv_lines(block: Block) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(zip(*block.values(), strict=True))
    return text.getvalue().encode()


def _span(part: Path) -> tuple[int, int]:
    _, first, last = part.stem.split("-")
    return int(first), int(last)


def _newest(parts: Iterable[Path]) -> list[Path]:
    """Return the parts in order, without those whose steps a merged part holds too."""
    kept: list[Path] = []
    for part in sorted(parts, key=lambda part: (_span(part)[0], -_span(part)[1])):
        if not kept or _span(part)[1] > _span(kept[-1])[1]:
            kept.append(part)
    return kept


def _shorten(columns: bytes | list[str]) -> str:
    text = columns.decode(errors="replace").strip() if isinstance(columns, bytes) else ",".join(columns)
    return text if len(text) <= 200 else text[:200] + "..."
