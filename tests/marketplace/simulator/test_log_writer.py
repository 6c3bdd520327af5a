"""A log that is written as it comes is the file that its rows written at once would be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.tables import write_table
from components.marketplace.simulator import writing
from components.marketplace.simulator.writing import LogWriter


def part(start: int, rows: int) -> pa.Table:
    numbers = np.arange(start, start + rows)
    return pa.table({"id": pa.array(numbers).cast(pa.string()), "value": pa.array(numbers % 7, mask=numbers % 3 == 0)})


def test_parts_make_the_bytes_of_the_whole(tmp_path: Path) -> None:
    sizes = [0, 700_000, 10, 900_000, 600_000]
    parts = [part(sum(sizes[:i]), rows) for i, rows in enumerate(sizes)]
    with LogWriter(tmp_path) as writer:
        for rows in parts:
            writer.add({"whole": rows})
    assert writer.rows == {"whole": sum(sizes)}
    write_table(pa.concat_tables(parts), tmp_path / "at_once.parquet")
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "at_once.parquet").read_bytes()


def test_full_row_groups_leave_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP", 100)
    with LogWriter(tmp_path) as writer:
        for start in range(0, 1000, 90):
            writer.add({"rows": part(start, 90)})
            assert writer._held["rows"].num_rows <= 100
    file = pq.ParquetFile(tmp_path / "rows.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [100] * 10 + [80]


def test_an_error_leaves_no_open_file_that_looks_whole(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), LogWriter(tmp_path) as writer:
        writer.add({"rows": part(0, 10)})
        raise ZeroDivisionError
    assert not (tmp_path / "rows.parquet").exists()
