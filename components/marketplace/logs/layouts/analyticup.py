"""CIKM 2025 AnalytiCup, query-category relevance: `task, language, origin_query, category_path, label`.

The language stands for the market (upper case) and the category path for the item's text; the same text in two markets
is two items. These are not Southeast Asian
markets.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa

from components.contracts.errors import BadInput
from components.contracts.files import find_table
from components.contracts.schemas import JUDGMENTS, QUERY, TITLE, Column, TableSchema
from components.contracts.tables import Limits, read_table, validate, write_table
from components.contracts.text import normalise_query, normalise_title, query_key
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import file_digest, stage_directory, write_manifest
from components.marketplace.logs.layouts.profile import write_profile

_logger = get_logger(__name__)

_PUBLISHED = "train"
_LAYOUT = TableSchema(
    "analyticup",
    {
        "language": Column(pa.string(), max_chars=16),
        "origin_query": replace(QUERY, nullable=True, blank=True),
        "category_path": TITLE,
        "label": Column(pa.float64(), minimum=0, maximum=1),
    },
)


def ingest_analyticup(source: Path, out: Path) -> None:
    """Write the judgments of an AnalytiCup query-category file (.csv, .csv.gz or .parquet) and their profile to `out`.

    A folder stands for the labelled file in it, as published (`train`).

    Rows with a blank query and exact duplicates are dropped, and pairs with several labels get their mean; the manifest
    and the log say how many.

    Raises:
        BadInput: the file does not have the layout.
    """
    if source.is_dir():
        found = find_table(source, _PUBLISHED)
        if found is None:
            raise BadInput(f"{source}: no file {_PUBLISHED}.csv, .csv.gz or .parquet")
        source = found
    raw = read_table(source, _LAYOUT).select(list(_LAYOUT.columns)).to_pandas()
    rows = raw.assign(
        market=raw["language"].str.strip().str.upper(),
        key=raw["origin_query"].fillna("").map(normalise_query),
        title=raw["category_path"].map(normalise_title),
    )
    named = rows[rows["key"] != ""]
    distinct = named.drop_duplicates(["market", "key", "title", "label"])
    pairs = distinct.groupby(["market", "key", "title"], sort=False)
    merged = pairs.agg(query=("origin_query", "first"), grade=("label", "mean"), language=("language", "first"))
    report = {
        "rows": len(rows),
        "blank_queries": len(rows) - len(named),
        "duplicates": len(named) - len(distinct),
        "conflicting_labels": len(distinct) - len(merged),
        "judgments": len(merged),
    }
    if merged.empty:
        raise BadInput(f"{source}: column origin_query: blank in all {len(rows)} rows")
    markets = sorted(rows["market"].unique())
    table = validate(_judgments(merged.reset_index()), JUDGMENTS, str(source), Limits(markets))
    with stage_directory(out) as root:
        write_table(table, root / "judgments.parquet")
        write_profile(root / "profile.yaml", markets)
        write_manifest(
            root,
            "ingested",
            config={"format": "analyticup"},
            inputs={source.name: file_digest(source)},
            metrics=report,
            simulated=False,
            markets=markets,
        )
    _logger.info("analyticup: %s", ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in report.items()))


def _judgments(pairs: pd.DataFrame) -> pa.Table:
    keys = [query_key(market, query) for market, query in zip(pairs["market"], pairs["key"], strict=True)]
    return pa.table(
        {
            "query_id": [f"q{_digest(key)}" for key in keys],
            "market": pairs["market"].tolist(),
            "query": pairs["query"].tolist(),
            "item_id": [f"i{_digest(text)}" for text in pairs["market"] + ":" + pairs["title"]],
            "title": pairs["title"].tolist(),
            "grade": pairs["grade"].tolist(),
            "language": pairs["language"].tolist(),
        }
    )


def _digest(text: str) -> str:
    """A short name for a text that is the same everywhere."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16]
