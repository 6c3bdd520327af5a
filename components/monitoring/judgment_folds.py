"""What relevance drift compares: two folds of the judgments, told apart by query.

Judgments carry no time, so there is no earlier and later. What can go wrong is that the queries a model is tested on
differ from those it learned from: folds are the `split` column where there is one (train against the others), else two
halves by the hash of the query.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from components.contracts import schemas
from components.contracts.tables import Limits, read_table
from components.contracts.text import normalise_query, query_key, stable_bucket
from components.contracts.tools.distinct import map_distinct
from components.contracts.tools.manifest import read_manifest
from components.monitoring.windows import ColumnSpec

SPECS = [
    ColumnSpec("market", "categorical", entity="query_key"),
    ColumnSpec("grade", "numeric", scope="label", entity="query_key"),
    ColumnSpec("query_chars", "numeric", entity="query_key"),
    ColumnSpec("query_words", "numeric", entity="query_key"),
    ColumnSpec("title_chars", "numeric", entity="query_key"),
    ColumnSpec("title_words", "numeric", entity="query_key"),
    ColumnSpec("titles_of_query", "numeric", entity="query_key"),
]


def read_folds(log: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Both folds of a log's judgments, and what they are: market, query (normalised), item_id, query_key, SPECS.

    Raises:
        BadInput: the log has no readable judgments.
    """
    markets = read_manifest(log)["markets"]
    table = read_table(log / "judgments.parquet", schemas.JUDGMENTS, Limits(markets=markets))
    judgments = _described(table.to_pandas())
    splits = judgments["split"] if "split" in judgments else pd.Series(None, index=judgments.index, dtype=object)
    if (splits == "train").any() and (splits.notna() & (splits != "train")).any():
        in_reference = splits == "train"
        in_current = splits.notna() & ~in_reference
        names = {"reference": "split train", "current": "the other splits"}
    else:
        distinct = judgments["query_key"].drop_duplicates()
        halves = pd.Series(stable_bucket(distinct, 3), index=distinct)
        in_reference = judgments["query_key"].map(halves) == 1
        in_current = ~in_reference
        names = {"reference": "one half of the queries, by hash", "current": "the other half"}
    reference, current = judgments[in_reference], judgments[in_current]
    sizes = {"reference": len(reference), "current": len(current)}
    return reference, current, {window: f"{name}, {sizes[window]:,} judgments" for window, name in names.items()}


def _described(judgments: pd.DataFrame) -> pd.DataFrame:
    pairs = zip(judgments["market"], judgments["query"], strict=True)
    rows = judgments.assign(
        query=map_distinct(normalise_query, judgments["query"]),
        query_key=map_distinct(lambda pair: query_key(*pair), pairs),
    )
    return rows.assign(
        query_chars=rows["query"].str.len(),
        query_words=rows["query"].str.count(r"\S+"),
        title_chars=rows["title"].str.len(),
        title_words=rows["title"].str.count(r"\S+"),
        titles_of_query=rows.groupby("query_key")["item_id"].transform("size").astype(np.float64),
    )
