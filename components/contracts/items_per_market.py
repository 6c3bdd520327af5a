"""Item ids that name an item of their own in each market, made unique: MARKET:ID in every table."""

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.schemas import ITEMS, TableSchema


def keyed_by_market(schema: TableSchema) -> TableSchema:
    """A table's schema as its file must be where item ids repeat over markets."""
    return replace(schema, key=("market", "item_id")) if schema is ITEMS else schema


def ids_of_markets(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables with item ids that name their market; a row that refers to nothing keeps its id.

    A candidate's market is its request's, an event's its request's or, without one, its user's.
    """
    changed = dict(tables)
    for name in {"items", "judgments"} & tables.keys():
        changed[name] = _named(tables[name], tables[name]["market"])
    if {"requests", "candidates"} <= tables.keys():
        changed["candidates"] = _named(tables["candidates"], _markets(tables, "candidates", "requests", "request_id"))
    if {"requests", "users", "events"} <= tables.keys():
        of_request = _markets(tables, "events", "requests", "request_id")
        of_user = _markets(tables, "events", "users", "user_id")
        changed["events"] = _named(tables["events"], pc.coalesce(of_request, of_user))
    return changed


def _markets(tables: Mapping[str, pa.Table], name: str, target: str, key: str) -> pa.ChunkedArray:
    """The market of the row of `target` to which each row of a table refers; null where there is none."""
    rows = pc.index_in(tables[name][key], value_set=tables[target][key].combine_chunks(), skip_nulls=True)
    return tables[target]["market"].take(rows)


def _named(table: pa.Table, markets: pa.ChunkedArray) -> pa.Table:
    ids = table["item_id"]
    named = pc.coalesce(pc.binary_join_element_wise(markets, ids, ":"), ids)
    return table.set_column(table.schema.get_field_index("item_id"), "item_id", named)
