"""The log of a served release as tables, sampled: a line per request, and parts of answers and of what users did.

A server writes its folder while it is read: a part appears whole, a last line may not have ended yet, and the oldest of
both are removed when the folder is full.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.errors import BadInput
from components.contracts.schemas import TIMESTAMP
from components.monitoring.config import MonitoringConfig
from components.monitoring.table_sample import Sample, json_batches, sample_rows

# The table of the lines: requests that were refused or failed are there alone.
LINES = "lines"
_LINES, _PARTS = "requests-[0-9]*.jsonl*", "part-*Z-*"
_OF_PARTS = ("requests", "candidates", "events", "impressions")
_OF_REQUEST = ["request_id", "user_id", "market"]


def is_serving_log(path: Path) -> bool:
    """Whether it is the folder of a served release's log."""
    return path.is_dir() and any(
        one.is_dir() == (pattern == _PARTS) for pattern in (_LINES, _PARTS) for one in path.glob(pattern)
    )


def read_serving_log(folder: Path, config: MonitoringConfig) -> dict[str, Sample]:
    """Its tables that have rows; candidates with the market and user of their request beside them.

    Which release answered is left out: it changes with every deployment.

    Raises:
        BadInput: a file that cannot be read, or no rows at all.
    """
    sources = {LINES: _lines(folder)} | {name: _table(folder, name) for name in _OF_PARTS}
    try:
        samples = {name: sample_rows(batches, config.max_rows, config.seed) for name, batches in sources.items()}
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{folder}: not readable as a serving log ({str(error).splitlines()[0]})") from error
    found = {name: sample for name, sample in samples.items() if sample.rows}
    if not found:
        raise BadInput(f"{folder}: a serving log without a request, an answer or an event")
    return found


def _lines(folder: Path) -> Iterator[pa.Table]:
    for path in sorted(folder.glob(_LINES)):
        try:
            yield from (_as_logged(batch) for batch in json_batches(path, growing=True))
        except FileNotFoundError:  # the server removed or renamed it
            continue


def _table(folder: Path, name: str) -> Iterator[pa.Table]:
    for part in sorted(folder.glob(_PARTS)):
        try:
            table = pq.read_table(part / f"{name}.parquet")
            if name == "candidates":
                table = table.join(pq.read_table(part / "requests.parquet", columns=_OF_REQUEST), "request_id")
        except FileNotFoundError:  # none of them in this part, or the server removed it
            continue
        yield _as_logged(table)


def _as_logged(table: pa.Table) -> pa.Table:
    names = ["timestamp" if name == "time" else name for name in table.column_names]
    table = table.rename_columns(names).select([name for name in names if name != "release"])
    place = table.schema.get_field_index("timestamp")
    return table if place < 0 else table.set_column(place, "timestamp", table["timestamp"].cast(TIMESTAMP))
