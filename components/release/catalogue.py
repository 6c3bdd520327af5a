"""The catalogue of a release: what retrieval searches and the transformer checks item ids against."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contracts.tables import write_table

COLUMNS = {
    "item_id": pa.string(),
    "market": pa.string(),
    "title": pa.string(),
    "category": pa.string(),
    "price": pa.float64(),
    "brand": pa.string(),
}


def write_catalogue(log: Path, out: Path) -> int:
    """Write item_id, market, title, category, price, brand to the file `out`, in item order; the number of items.

    A log of judgments alone has the judged items, with no category, price or brand.
    """
    path = log / "items.parquet"
    table = pq.read_table(path if path.is_file() else log / "judgments.parquet")
    known = pa.table(
        {
            name: table[name].cast(type_) if name in table.column_names else pa.nulls(table.num_rows, type_)
            for name, type_ in COLUMNS.items()
        }
    )
    known = known.take(pc.sort_indices(known, [("item_id", "ascending"), ("market", "ascending")]))
    first = known.append_column("row", pa.array(range(known.num_rows))).group_by("item_id").aggregate([("row", "min")])
    items = known.take(first["row_min"])
    write_table(items.sort_by("item_id"), out)
    return int(items.num_rows)
