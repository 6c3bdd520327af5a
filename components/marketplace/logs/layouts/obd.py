"""Open Bandit: recommendations of a fashion shop in Japan, one shown item a row, with its place and its click.

A folder with a file of impressions per campaign and the items beside it: `men/men.csv` with `men/item_context.csv` as
published, or `men.csv` with `men_item_context.csv`. Choices (ours):

- A row is a request of one candidate, at its place of three: the layout does not say which rows were one page.
- Users have no ids: those who share all features are one user.
- Items have hashed features and no text: a title says campaign and number, and nothing about the item. No prices: 0.
"""

from pathlib import Path

import pyarrow as pa

from components.contracts.errors import BadInput
from components.contracts.files import find_table, suffix_of
from components.contracts.schemas import TIMESTAMP, Column, TableSchema
from components.marketplace.logs.layouts.dataset import make_tables, read_published, write_dataset

_ID = Column(pa.string(), is_id=True)
_USER = tuple(f"user_feature_{number}" for number in range(4))
_SHOWN = TableSchema(
    "shown",
    {
        "timestamp": Column(TIMESTAMP),
        "item_id": _ID,
        "position": Column(pa.int32(), minimum=1),
        "click": Column(pa.int8(), minimum=0, maximum=1),
        "propensity_score": Column(pa.float64(), minimum=0, maximum=1),
        **dict.fromkeys(_USER, Column(pa.string(), nullable=True)),
    },
)
_CONTEXT = TableSchema(
    "context", {"item_id": _ID, "item_feature_1": Column(pa.string(), nullable=True)}, key=("item_id",)
)
_ITEMS_FILE = "item_context"


def ingest_obd(source: Path, out: Path) -> None:
    """Write the items, users, requests, candidates and events of Open Bandit's files, and a profile, to `out`.

    Raises:
        BadInput: the files do not have the layout.
    """
    shown: list[pa.Table] = []
    context: list[pa.Table] = []
    paths: list[Path] = []
    for items in sorted(source.rglob(f"*{_ITEMS_FILE}.*")):
        name = items.name.removesuffix(suffix_of(items) or "").removesuffix(_ITEMS_FILE).rstrip("_")
        campaign = name or items.parent.name
        if (impressions := find_table(items.parent, campaign)) is None:
            raise BadInput(f"{items.parent}: no file {campaign}.csv beside {items.name}")
        paths += [impressions, items]
        for tables, path, schema in ((shown, impressions, _SHOWN), (context, items, _CONTEXT)):
            table = read_published(path, schema)
            tables.append(table.append_column("campaign", pa.array([campaign] * table.num_rows)))
    if not paths:
        raise BadInput(f"{source}: no file *{_ITEMS_FILE}.csv in it")
    made = make_tables({"shown": pa.concat_tables(shown), "context": pa.concat_tables(context)}, _QUERIES)
    counts = {"rows": made.pop("rows").num_rows}
    write_dataset(out, "obd", paths, ["JP"], made, counts)


_QUERIES = {
    "rows": f"""
        SELECT campaign || '-' || row AS request_id, 'u' || md5(concat_ws('|', {", ".join(_USER)})) AS user_id,
            campaign || '-' || item_id AS item, * EXCLUDE (item_id)
        FROM shown ORDER BY campaign, row
        """,  # noqa: S608 (our own names)
    "items": """
        SELECT campaign || '-' || item_id AS item_id, 'JP' AS market, campaign || ' item ' || item_id AS title,
            coalesce(item_feature_1, '-') AS category, 0.0 AS price, NULL::VARCHAR AS brand
        FROM context ORDER BY campaign, row
        """,
    "users": f"""
        SELECT user_id, 'JP' AS market, {", ".join(f"any_value({name}) AS {name}" for name in _USER)}
        FROM rows GROUP BY user_id ORDER BY user_id
        """,  # noqa: S608 (our own names)
    "requests": """
        SELECT request_id, user_id, 'JP' AS market, 'rec' AS domain, NULL::VARCHAR AS query, timestamp, campaign
        FROM rows ORDER BY campaign, row
        """,
    "candidates": "SELECT request_id, item AS item_id, position, propensity_score FROM rows ORDER BY campaign, row",
    "events": """
        SELECT 'click-' || request_id AS event_id, user_id, item AS item_id, 'rec' AS domain, request_id,
            'click' AS type, timestamp
        FROM rows WHERE click = 1 ORDER BY campaign, row
        """,
}
