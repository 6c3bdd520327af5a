"""Stored relevance packed by query: one online row holds every scored item of a query.

A search reads one row where it would read one per candidate. The point-in-time join has no use for it: its view stays
keyed by query and item.
"""

from pathlib import Path

import pyarrow.parquet as pq

VIEW = "query_relevance"
ITEM_IDS, RELEVANCE = "scored_items", "scored_relevance"


def pack_relevance(tables: Path, out: Path) -> None:
    """Write `out`/query_relevance.parquet from `tables`/relevance.parquet, which holds one row per key.

    Columns: query_key, scored_items (list of text), scored_relevance (list of float32), and event_timestamp, the newest
    of the query's rows.
    """
    rows = pq.read_table(tables / "relevance.parquet")
    packed = rows.group_by("query_key", use_threads=False).aggregate(
        [("item_id", "list"), ("relevance", "list"), ("event_timestamp", "max")]
    )
    names = {"item_id_list": ITEM_IDS, "relevance_list": RELEVANCE, "event_timestamp_max": "event_timestamp"}
    packed = packed.rename_columns([names.get(name, name) for name in packed.column_names])
    pq.write_table(packed, out / f"{VIEW}.parquet")
