"""JDsearch: one search of each user with the products displayed under it, and what the user did before.

A folder with `user_behavior_data*.txt` and `product_meta_data*.txt`, set apart by tabs, as published. Words are numbers
(anonymised), so titles and queries are too. Choices (ours):

- A row is a user. The displayed products are all the candidates, at their places in the list.
- A label is the furthest that a user went: 1 is a click, 2 a click and a cart, 3 a click and a purchase.
- What was done before has no list of candidates: events without request in the domain `shop`, the query it came from
  kept as `query`. Products to follow (FLW) are no event of ours: they are left out.
- The layout has intervals, no dates: seconds, before a search at midnight of 2023-01-01 UTC. There are no prices: 0.
"""

from pathlib import Path

import pyarrow as pa

from components.contracts.errors import BadInput
from components.contracts.mapping import LogMapping
from components.contracts.schemas import Column, TableSchema
from components.marketplace.logs.layouts.dataset import make_tables, read_published, write_dataset

_LIST = Column(pa.string(), nullable=True, blank=True)
_BEHAVIOUR = TableSchema(
    "behaviour",
    {
        "query": Column(pa.string()),
        "candidate_wid_list": Column(pa.string()),
        "candidate_label_list": Column(pa.string()),
        "history_qry_list": _LIST,
        "history_wid_list": _LIST,
        "history_type_list": _LIST,
        "history_time_list": Column(pa.string()),
    },
)
_PRODUCTS = TableSchema(
    "products",
    {
        "wid": Column(pa.string(), is_id=True),
        "name": _LIST,
        "brand_id": _LIST,
        "cate_id_1": _LIST,
    },
    key=("wid",),
)


def ingest_jdsearch(source: Path, out: Path) -> None:
    """Write the items, users, requests, candidates and events of JDsearch's files, and a profile, to `out`.

    Raises:
        BadInput: the files do not have the layout.
    """
    paths = [_file(source, name) for name in ("user_behavior_data", "product_meta_data")]
    tabs = LogMapping(delimiter="\t")
    sources = {
        "behaviour": read_published(paths[0], _BEHAVIOUR, tabs),
        "products": read_published(paths[1], _PRODUCTS, tabs),
    }
    made = make_tables(sources, _QUERIES)
    if uneven := made["uneven"].num_rows:
        raise BadInput(
            f"{paths[0]}: lists of unequal length, or without a number, in {uneven} of "
            f"{sources['behaviour'].num_rows} rows (first: row {made['uneven']['row'][0].as_py()})"
        )
    (counts,) = made["counts"].to_pylist()
    tables = {name: made[name] for name in ("items", "users", "requests", "candidates", "events")}
    write_dataset(out, "jdsearch", paths, ["CN"], tables, counts)


def _file(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}*.txt"))
    if len(found) != 1:
        raise BadInput(f"{folder}: expected one file {name}*.txt, found {len(found)}")
    return found[0]


# Words of a text stand between characters 0x18.
_QUERIES = {
    "lists": r"""
        SELECT row, 'u' || row AS user_id, 'r' || row AS request_id, replace(query, chr(24), ' ') AS query,
            string_split(candidate_wid_list, '_') AS candidates, string_split(candidate_label_list, '_') AS labels,
            CASE WHEN history_wid_list IS NULL THEN [] ELSE string_split(history_wid_list, '_') END AS history,
            CASE WHEN history_qry_list IS NULL THEN [] ELSE string_split(history_qry_list, '_') END AS queries,
            CASE WHEN history_type_list IS NULL THEN [] ELSE string_split(history_type_list, '_') END AS types,
            string_split(history_time_list, '_') AS times
        FROM behaviour
        """,
    "uneven": """
        SELECT row FROM lists
        WHERE len(candidates) <> len(labels) OR len(history) <> len(types) OR len(history) <> len(queries)
           OR len(history) + 1 <> len(times)
           OR len(list_filter(labels || times, lambda number: try_cast(number AS DOUBLE) IS NULL)) > 0 ORDER BY row
        """,
    "items": r"""
        SELECT wid AS item_id, 'CN' AS market, replace(name, chr(24), ' ') AS title,
            coalesce(cate_id_1, '-') AS category, 0.0 AS price, brand_id AS brand
        FROM products WHERE trim(coalesce(name, '')) <> '' ORDER BY row
        """,
    "users": "SELECT user_id, 'CN' AS market FROM lists ORDER BY row",
    "requests": """
        SELECT request_id, user_id, 'CN' AS market, 'search' AS domain, query,
            TIMESTAMPTZ '2023-01-01 00:00:00+00' AS timestamp
        FROM lists ORDER BY row
        """,
    "displayed": """
        SELECT row, request_id, user_id, unnest(candidates) AS item_id, try_cast(unnest(labels) AS DOUBLE) AS label,
            generate_subscripts(candidates, 1) AS position
        FROM lists
        """,
    "candidates": """
        SELECT request_id, item_id, min(position) AS position FROM displayed SEMI JOIN items USING (item_id)
        GROUP BY request_id, item_id ORDER BY min(row), min(position)
        """,
    "done": """
        SELECT row, user_id, history[place] AS item_id, queries[place] AS query, types[place] AS type, place,
            epoch_us(TIMESTAMPTZ '2023-01-01 00:00:00+00') - 1000000 * (total - list_sum(seconds[:place])) AS instant
        FROM (SELECT *, unnest(range(1, len(history) + 1)) AS place, list_sum(seconds) AS total
              FROM (SELECT *, list_transform(times, lambda t: try_cast(t AS DOUBLE)) AS seconds FROM lists))
        """,
    "events": """
        SELECT 'e' || row_number() OVER (ORDER BY row, instant, part, place) AS event_id,
            * EXCLUDE (row, instant, part, place), make_timestamptz(instant::BIGINT) AS timestamp
        FROM (
            SELECT row, place, 0 AS part, user_id, item_id, 'shop' AS domain, NULL AS request_id,
                CASE type WHEN 'ORD' THEN 'purchase' ELSE lower(type) END AS type,
                CASE WHEN query <> '-1' THEN replace(query, chr(24), ' ') END AS query, instant
            FROM done SEMI JOIN items USING (item_id) WHERE type IN ('ORD', 'CLICK', 'CART')
            UNION ALL
            SELECT row, position, step.part, user_id, item_id, 'search', request_id, step.type, NULL,
                epoch_us(TIMESTAMPTZ '2023-01-01 00:00:00+00') + 1000000 * step.part
            FROM displayed SEMI JOIN items USING (item_id)
            JOIN (VALUES (1, 'click', 1, 3), (2, 'cart', 2, 2), (3, 'purchase', 3, 3)) AS step(part, type, low, high)
              ON label BETWEEN step.low AND step.high
        )
        """,
    "counts": """
        SELECT (SELECT count(*) FROM lists) AS rows,
            (SELECT count(*) FROM products) - (SELECT count(*) FROM items) AS products_without_name,
            (SELECT count(*) FROM displayed) - (SELECT count(*) FROM candidates) AS candidates_without_product,
            (SELECT count(*) FROM done WHERE type NOT IN ('ORD', 'CLICK', 'CART')) AS history_of_other_types,
            (SELECT count(*) FROM done ANTI JOIN items USING (item_id) WHERE type IN ('ORD', 'CLICK', 'CART'))
                AS history_without_product
        """,
}
