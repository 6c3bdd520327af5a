"""The distinct (market, query, item) pairs of a log, and the single texts whose vectors other stages want."""

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.errors import BadInput
from components.contracts.text import normalise_query, normalise_title
from components.contracts.tools.distinct import map_distinct

KEY = ["market", "query", "item_id"]


def distinct_pairs(log: Path) -> pd.DataFrame:
    """market, query (normalised), item_id, title, text_digest; sorted by the first three.

    Pairs come from the judgments and, where the log has them, from the candidates of search requests. An item's title
    is the catalogue's; a judged item that is not in the catalogue has the title it was judged by.

    Raises:
        BadInput: the log has no judgments file, or an item has no title.
    """
    judgments = read_columns(log, "judgments", ["market", "query", "item_id", "title"])
    pairs = judgments
    titles = judgments.drop_duplicates("item_id").set_index("item_id")["title"]
    if (log / "candidates.parquet").is_file():
        requests = read_columns(log, "requests", ["request_id", "market", "domain", "query"])
        candidates = read_columns(log, "candidates", ["request_id", "item_id"])
        searches = requests.loc[requests["domain"] == "search", ["request_id", "market", "query"]]
        pairs = pd.concat([judgments[KEY], candidates.merge(searches, on="request_id")[KEY]])
        catalogue = read_columns(log, "items", ["item_id", "title"]).set_index("item_id")["title"]
        titles = pd.concat([catalogue, titles[~titles.index.isin(catalogue.index)]])
    pairs = pairs[KEY].drop_duplicates()
    pairs["query"] = map_distinct(normalise_query, pairs["query"])
    pairs = pairs.drop_duplicates().sort_values(KEY, ignore_index=True)
    pairs["title"] = pairs["item_id"].map(titles)
    if pairs["title"].isna().any():
        example = pairs.loc[pairs["title"].isna(), "item_id"].iloc[0]
        raise BadInput(
            f"{log}: {int(pairs['title'].isna().sum())} of {len(pairs)} pairs have no title (first: {example!r})"
        )
    texts = pairs["query"] + "\0" + pairs["title"]
    pairs["text_digest"] = [hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in texts]
    return pairs


def distinct_titles(log: Path) -> pd.DataFrame:
    """item_id, title (normalised) of the catalogue, or of the judged items where there is no catalogue."""
    name = "items" if (log / "items.parquet").is_file() else "judgments"
    titles = read_columns(log, name, ["item_id", "title"]).drop_duplicates("item_id").sort_values("item_id")
    titles["title"] = map_distinct(normalise_title, titles["title"])
    return titles.reset_index(drop=True)


def read_columns(log: Path, table: str, columns: list[str]) -> pd.DataFrame:
    """Columns of one of the log's tables."""
    path = log / f"{table}.parquet"
    if not path.is_file():
        raise BadInput(f"{log}: no file {table}.parquet")
    try:
        frame: pd.DataFrame = pq.read_table(path, columns=columns).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
    return frame
