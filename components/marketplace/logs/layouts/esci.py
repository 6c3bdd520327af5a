"""Amazon's Shopping Queries (ESCI): graded products of queries in the United States, Spain and Japan.

A folder with `shopping_queries_dataset_examples` and `shopping_queries_dataset_products` (Parquet, as published). A
product is keyed by its id and its locale: the item id is `US:B07NCQWCQS`. Grades are the paper's gains: exact 1,
substitute 0.1, complement 0.01, irrelevant 0. The published split is kept as `esci_split`.
"""

from pathlib import Path

import pyarrow as pa

from components.contracts.schemas import Column, TableSchema
from components.contracts.text import MAX_QUERY_CHARS, MAX_TITLE_CHARS
from components.marketplace.logs.layouts.dataset import make_tables, published, read_published, write_dataset
from components.marketplace.logs.layouts.judged import judgments_of

GRADES = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
_NAME = "shopping_queries_dataset_"
_TEXT = Column(pa.string(), nullable=True, blank=True)
_LOCALE = Column(pa.string(), values=("us", "es", "jp"))
_EXAMPLES = TableSchema(
    "examples",
    {
        "query": _TEXT,
        "query_id": Column(pa.string(), is_id=True),
        "product_id": Column(pa.string()),
        "product_locale": _LOCALE,
        "esci_label": Column(pa.string(), values=tuple(GRADES)),
        "split": Column(pa.string()),
    },
)
_PRODUCTS = TableSchema(
    "products",
    {
        "product_id": Column(pa.string()),
        "product_title": _TEXT,
        "product_brand": _TEXT,
        "product_locale": _LOCALE,
    },
    key=("product_id", "product_locale"),
)


def ingest_esci(source: Path, out: Path) -> None:
    """Write the judgments of a folder of ESCI's files, and their profile, to `out`.

    Raises:
        BadInput: the files do not have the layout.
    """
    paths = [published(source, f"{_NAME}{name}") for name in ("examples", "products")]
    sources = {
        "examples": read_published(paths[0], _EXAMPLES),
        "products": read_published(paths[1], _PRODUCTS),
        "grades": pa.table({"esci_label": list(GRADES), "grade": list(GRADES.values())}),
    }
    rows = make_tables(sources, {"rows": _ROWS})["rows"]
    judgments, counts = judgments_of(rows)
    markets = sorted(set(judgments["market"].to_pylist()))
    write_dataset(out, "esci", paths, markets, {"judgments": judgments}, counts)


_ROWS = f"""
    SELECT e.query_id, upper(e.product_locale) AS market, e.query,
        upper(e.product_locale) || ':' || e.product_id AS item_id, p.product_title AS title, g.grade,
        p.product_brand AS brand, e.split AS esci_split, e.row,
        coalesce(length(e.query) <= {MAX_QUERY_CHARS} AND length(p.product_title) <= {MAX_TITLE_CHARS}, TRUE) AS short
    FROM examples e JOIN grades g USING (esci_label) LEFT JOIN products p USING (product_id, product_locale)
    ORDER BY e.row
    """  # noqa: S608 (our own numbers)
