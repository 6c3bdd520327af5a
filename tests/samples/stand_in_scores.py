"""Relevance scores and text vectors of a log without any model: hashed character trigrams.

They stand in for the relevance stage's output, so that the samples stage is tested by itself.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.schemas import QUERY_VECTORS, RELEVANCE_SCORES, TITLE_VECTORS, TableSchema
from components.contracts.tables import validate, write_table
from components.contracts.text import normalise_query, query_ngrams
from components.contracts.tools.manifest import write_manifest

_BUCKETS = 512


def write_stand_ins(log: Path, root: Path, share_scored: float = 1.0) -> tuple[Path, Path]:
    """Write `root/scores` and `root/encodings` for the search candidates of a log; returns both."""
    items = pq.read_table(log / "items.parquet").to_pandas()
    requests = pq.read_table(log / "requests.parquet").to_pandas()
    candidates = pq.read_table(log / "candidates.parquet").to_pandas()
    searches = requests[requests["domain"] == "search"]
    searches = searches.assign(query=searches["query"].map(normalise_query))
    queries = searches[["market", "query"]].drop_duplicates().sort_values(["market", "query"]).reset_index(drop=True)
    title_vectors = dict(zip(items["item_id"], _vectors(items["title"].tolist()), strict=True))
    query_vectors = dict(
        zip(zip(queries["market"], queries["query"], strict=True), _vectors(queries["query"].tolist()), strict=True)
    )

    pairs = candidates.merge(searches[["request_id", "market", "query"]], on="request_id")
    pairs = pairs[["market", "query", "item_id"]].drop_duplicates().sort_values(["market", "query", "item_id"])
    pairs = pairs.sample(frac=share_scored, random_state=3).sort_values(["market", "query", "item_id"])
    titles = pairs["item_id"].map(items.set_index("item_id")["title"])
    pairs = pairs.assign(relevance=stand_in_relevance(pairs["query"], titles))
    thresholds = {market: float(group.quantile(0.3)) for market, group in pairs.groupby("market")["relevance"]}
    rows = pa.Table.from_pandas(pairs, preserve_index=False)
    write_scores(root / "scores", rows, thresholds, log)
    write_encodings(root / "encodings", title_vectors, query_vectors)
    return root / "scores", root / "encodings"


def stand_in_relevance(queries: pd.Series, titles: pd.Series) -> np.ndarray:
    """float32 (n,): cosine of the trigrams of each query and its title, 0 to 1."""
    (query_n, distinct_queries), (title_n, distinct_titles) = (pd.factorize(texts) for texts in (queries, titles))
    left, right = (_vectors([str(text) for text in texts]) for texts in (distinct_queries, distinct_titles))
    cosine_n = [float(left[q] @ right[t]) for q, t in zip(query_n, title_n, strict=True)]
    return np.clip(cosine_n, 0, 1).astype(np.float32)


def write_scores(folder: Path, pairs: pa.Table, thresholds: dict[str, float], log: Path) -> None:
    """Write a scores directory from pairs with `relevance`."""
    experts = pa.array([[0, 1]] * pairs.num_rows, pa.list_(pa.int64()))
    _write(folder / "scores.parquet", pairs.append_column("experts", experts), RELEVANCE_SCORES)
    (folder / "thresholds.json").write_text(json.dumps(thresholds), encoding="utf-8")
    write_manifest(folder, "scores", {}, {})


def write_encodings(folder: Path, titles: dict[str, np.ndarray], queries: dict[tuple[str, str], np.ndarray]) -> None:
    """Write the two vector tables of an encodings directory."""
    vector = pa.list_(pa.float32())
    rows = pa.table({"item_id": list(titles), "vector": pa.array([list(v) for v in titles.values()], vector)})
    _write(folder / "title_vectors.parquet", rows, TITLE_VECTORS)
    rows = pa.table(
        {
            "market": [market for market, _ in queries],
            "query": [query for _, query in queries],
            "vector": pa.array([list(v) for v in queries.values()], vector),
        }
    )
    _write(folder / "query_vectors.parquet", rows, QUERY_VECTORS)
    write_manifest(folder, "encodings", {}, {})


def _write(path: Path, table: pa.Table, schema: TableSchema) -> None:
    write_table(validate(table, schema, path.name), path)


def _vectors(texts: list[str]) -> np.ndarray:
    grams = query_ngrams(texts, _BUCKETS, 64)
    counts = np.zeros((len(texts), _BUCKETS), dtype=np.float32)
    np.add.at(counts, (np.repeat(np.arange(len(texts)), grams.shape[1]), grams.ravel()), 1)
    counts[:, 0] = 0
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
