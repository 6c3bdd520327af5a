"""Wayfair's WANDS: furniture of one shop in the United States, graded for 480 queries.

A folder with `query.csv`, `product.csv` and `label.csv`, set apart by tabs, as published. Exact is 1, Partial 0.5,
Irrelevant 0 (our choice: the paper states an order only).
"""

from pathlib import Path

import pyarrow as pa

from components.contracts.mapping import LogMapping
from components.contracts.schemas import Column, TableSchema
from components.contracts.text import MAX_QUERY_CHARS, MAX_TITLE_CHARS
from components.marketplace.logs.layouts.dataset import make_tables, published, read_published, write_dataset
from components.marketplace.logs.layouts.judged import judgments_of

GRADES = {"Exact": 1.0, "Partial": 0.5, "Irrelevant": 0.0}
_ID = Column(pa.string(), is_id=True)
_TEXT = Column(pa.string(), nullable=True, blank=True)
_QUERIES = TableSchema("queries", {"query_id": _ID, "query": _TEXT}, key=("query_id",))
_PRODUCTS = TableSchema(
    "products", {"product_id": _ID, "product_name": _TEXT, "product_class": _TEXT}, key=("product_id",)
)
_LABELS = TableSchema(
    "labels", {"query_id": _ID, "product_id": _ID, "label": Column(pa.string(), values=tuple(GRADES))}
)


def ingest_wands(source: Path, out: Path) -> None:
    """Write the judgments of a folder of WANDS' files, and their profile, to `out`.

    Raises:
        BadInput: the files do not have the layout.
    """
    paths = [published(source, name) for name in ("label", "query", "product")]
    schemas, tabs = (_LABELS, _QUERIES, _PRODUCTS), LogMapping(delimiter="\t")
    sources = {schema.name: read_published(path, schema, tabs) for path, schema in zip(paths, schemas, strict=True)} | {
        "grades": pa.table({"label": list(GRADES), "grade": list(GRADES.values())})
    }
    rows = make_tables(sources, {"rows": _ROWS})["rows"]
    judgments, counts = judgments_of(rows)
    write_dataset(out, "wands", paths, ["US"], {"judgments": judgments}, counts)


_ROWS = f"""
    SELECT l.query_id, 'US' AS market, q.query, l.product_id AS item_id, p.product_name AS title, g.grade,
        p.product_class AS category, l.row,
        coalesce(length(q.query) <= {MAX_QUERY_CHARS} AND length(p.product_name) <= {MAX_TITLE_CHARS}, TRUE) AS short
    FROM labels l JOIN grades g USING (label) LEFT JOIN queries q USING (query_id)
    LEFT JOIN products p USING (product_id)
    ORDER BY l.row
    """  # noqa: S608 (our own numbers)
