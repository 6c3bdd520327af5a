"""Writing a log market by market: no more of it is in memory than one market and one row group of each table."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

# As Arrow writes a whole table, so that a file is the same however its rows came.
ROW_GROUP = 1 << 20


class LogWriter:
    """Parquet files (zstd) of one directory, each named for its table and written in row groups as rows come.

    Whoever opens it sees to it that a directory that was not closed well is nobody's: `stage_directory`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: dict[str, pa.Table] = {}
        self._files: dict[str, pq.ParquetWriter] = {}
        self.rows: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            for name, rest in self._held.items():
                self._write(name, rest)
        for file in self._files.values():
            file.close()

    def add(self, tables: Mapping[str, pa.Table]) -> None:
        """More rows of these tables."""
        for name, table in tables.items():
            self.rows[name] = self.rows.get(name, 0) + table.num_rows
            held = pa.concat_tables([self._held[name], table]) if name in self._held else table
            while held.num_rows > ROW_GROUP:
                self._write(name, held.slice(0, ROW_GROUP))
                held = held.slice(ROW_GROUP)
            self._held[name] = held

    def _write(self, name: str, rows: pa.Table) -> None:
        if name not in self._files:
            self._files[name] = pq.ParquetWriter(self._root / f"{name}.parquet", rows.schema, compression="zstd")
        self._files[name].write_table(rows, row_group_size=ROW_GROUP)
