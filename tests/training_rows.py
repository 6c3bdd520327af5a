"""Training sets from flat rows, for tests: a request's rows lie together."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from components.contracts.features import FACTS
from components.contracts.training_set import (
    CANDIDATE_COLUMNS,
    CANDIDATE_ROWS,
    ITEM_KNOWN,
    REQUEST_COLUMNS,
    REQUEST_ROWS,
    USER_KNOWN,
    write_training_set,
)

_TIMES = {"time": pa.int64(), "sequence": pa.list_(pa.int64())}
_FILLED = {"label_source": "native", "query_source": "native", USER_KNOWN: True, ITEM_KNOWN: True}


def write_rows(rows: pa.Table, path: Path) -> Path:
    """Write rows with REQUEST_COLUMNS and CANDIDATE_COLUMNS, one part; what they lack is filled."""
    for fact in (fact for fact in FACTS if fact.kind != "text" and fact.name not in rows.column_names):
        never = pa.scalar([] if fact.kind == "sequence" else 0, _TIMES[fact.kind])
        rows = rows.append_column(fact.name, pa.repeat(never, rows.num_rows))
    for name in (*REQUEST_ROWS.columns, *CANDIDATE_ROWS.columns, USER_KNOWN, ITEM_KNOWN):
        if name not in rows.column_names:
            filled = pa.scalar(None, pa.int32()) if name == "position" else pa.scalar(_FILLED.get(name, 0))
            rows = rows.append_column(name, pa.repeat(filled, rows.num_rows))
    own = rows.select(list(REQUEST_ROWS.columns)).to_pandas()
    starts = np.flatnonzero((own != own.shift()).any(axis=1))
    sizes = np.diff([*starts, rows.num_rows])
    write_training_set(
        [(rows.take(pa.array(starts)).select(REQUEST_COLUMNS), rows.select(CANDIDATE_COLUMNS), sizes)], path
    )
    return path
