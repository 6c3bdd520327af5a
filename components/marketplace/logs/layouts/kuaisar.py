"""KuaiSAR: searches and recommendations of one short-video app, the same users in both.

A folder with `src_inter`, `rec_inter`, `user_features` and `item_features` (.csv), as published. Words are numbers
(anonymised), so captions and queries are too. Choices (ours):

- A search session is a request; its shown items are the candidates, at their places in the file.
- A recommendation is a request of one candidate: the feed shows one video at a time.
- Clicks have the time of their request: the layout has no other. There are no purchases and no prices: 0.
- Items without a caption, and what was shown of other kinds than `item_features` has, are left out and counted.
"""

from pathlib import Path

import pyarrow as pa

from components.contracts.mapping import LogMapping
from components.contracts.schemas import TIMESTAMP, Column, TableSchema
from components.marketplace.logs.layouts.dataset import make_tables, published, read_published, write_dataset

_ID = Column(pa.string(), is_id=True)
_TEXT = Column(pa.string(), nullable=True, blank=True)
_NUMBER = Column(pa.float64(), minimum=0)
_SEARCHES = TableSchema(
    "src_inter",
    {
        "user_id": _ID,
        "search_session_id": _ID,
        "search_session_timestamp": Column(TIMESTAMP),
        "keyword": _TEXT,
        "item_id": _ID,
        "click_cnt": _NUMBER,
    },
)
_RECOMMENDED = TableSchema(
    "rec_inter", {"user_id": _ID, "item_id": _ID, "timestamp": Column(TIMESTAMP), "click": _NUMBER}
)
_USERS = TableSchema(
    "user_features",
    {"user_id": _ID, "search_active_level": _NUMBER, "rec_active_level": _NUMBER},
    key=("user_id",),
)
_ITEMS = TableSchema(
    "item_features",
    {"item_id": _ID, "caption": _TEXT, "first_level_category_name_en": _TEXT},
    key=("item_id",),
)


def ingest_kuaisar(source: Path, out: Path) -> None:
    """Write the items, users, requests, candidates and events of KuaiSAR's files, and a profile, to `out`.

    Raises:
        BadInput: the files do not have the layout.
    """
    schemas = (_SEARCHES, _RECOMMENDED, _USERS, _ITEMS)
    paths = [published(source, schema.name) for schema in schemas]
    milliseconds = LogMapping(times="ms")
    sources = {
        schema.name: read_published(path, schema, milliseconds) for path, schema in zip(paths, schemas, strict=True)
    }
    made = make_tables(sources, _QUERIES)
    (counts,) = made["counts"].to_pylist()
    tables = {name: made[name] for name in ("items", "users", "requests", "candidates", "events")}
    write_dataset(out, "kuaisar", paths, ["CN"], tables, counts)


_QUERIES = {
    "items": """
        SELECT item_id, 'CN' AS market, words AS title,
            coalesce(nullif(trim(first_level_category_name_en), ''), '-') AS category,
            0.0 AS price, NULL::VARCHAR AS brand
        FROM (SELECT *, trim(regexp_replace(coalesce(caption, ''), '[\\[\\], ]+', ' ', 'g')) AS words
              FROM item_features)
        WHERE words <> '' ORDER BY row
        """,
    "users": """
        SELECT user_id, 'CN' AS market, search_active_level, rec_active_level FROM user_features ORDER BY row
        """,
    "shown": """
        SELECT 's' || search_session_id AS request_id, user_id, 'search' AS domain, item_id, row,
            click_cnt > 0 AS clicked, trim(regexp_replace(coalesce(keyword, ''), '[\\[\\], ]+', ' ', 'g')) AS query,
            search_session_timestamp AS timestamp
        FROM src_inter
        UNION ALL
        SELECT 'r' || row, user_id, 'rec', item_id, row, click > 0, NULL, timestamp FROM rec_inter
        """,
    "kept": """
        SELECT *, row_number() OVER (PARTITION BY request_id ORDER BY row) AS position
        FROM (SELECT * FROM shown SEMI JOIN items USING (item_id) SEMI JOIN users USING (user_id)
              WHERE domain = 'rec' OR query <> ''
              QUALIFY row_number() OVER (PARTITION BY request_id, item_id ORDER BY row) = 1)
        """,
    "requests": """
        SELECT request_id, arg_min(user_id, row) AS user_id, 'CN' AS market, arg_min(domain, row) AS domain,
            arg_min(query, row) AS query, min(timestamp) AS timestamp
        FROM kept GROUP BY request_id ORDER BY domain, min(row)
        """,
    "candidates": "SELECT request_id, item_id, position FROM kept ORDER BY domain, row",
    "events": """
        SELECT 'e' || row_number() OVER (ORDER BY timestamp, request_id, position) AS event_id, user_id, item_id,
            domain, request_id, 'click' AS type, timestamp
        FROM kept WHERE clicked ORDER BY timestamp, request_id, position
        """,
    "counts": """
        SELECT count(*) AS shown, count(*) FILTER (NOT in_items) AS shown_without_caption,
            count(*) FILTER (in_items AND NOT in_users) AS shown_to_unknown_users,
            count(*) FILTER (in_items AND in_users AND domain = 'search' AND query = '') AS searches_without_words,
            count(*) FILTER (in_items AND in_users AND (domain = 'rec' OR query <> ''))
                - (SELECT count(*) FROM kept) AS shown_twice
        FROM (SELECT *, item_id IN (SELECT item_id FROM items) AS in_items,
                  user_id IN (SELECT user_id FROM users) AS in_users
              FROM shown)
        """,
}
