"""Hand-made feature tables."""

from pathlib import Path

import pyarrow as pa

from components.contracts.features import VIEWS, stored_features
from components.contracts.tables import write_table

_TYPES = {"numeric": pa.float32(), "categorical": pa.int64(), "sequence": pa.list_(pa.int64())}
_TYPES |= {"time": pa.int64(), "text": pa.string()}


def write_views(folder: Path, **rows: list[dict]) -> Path:
    """The given rows of each view; other views are empty."""
    for view, keys in VIEWS.items():
        schema = pa.schema(
            [(key, pa.string()) for key in keys]
            + [(f.name, _TYPES[f.kind]) for f in stored_features(view)]
            + [("event_timestamp", pa.timestamp("us", tz="UTC"))]
        )
        write_table(pa.Table.from_pylist(rows.get(view, []), schema), folder / f"{view}.parquet")
    return folder
