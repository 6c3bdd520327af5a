"""Judged pairs as arrays: embeddings, router inputs, labels, and folds that never split a query."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import Tensor

from components.contracts.errors import BadInput
from components.contracts.manifest import read_manifest
from components.contracts.markets import market_codes
from components.contracts.text import query_ngrams
from components.relevance.config import RelevanceConfig
from components.relevance.model.spec import ExpertSpec
from components.relevance.pairs import KEY, normalised, read_columns


@dataclass(frozen=True)
class Judged:
    """n judged pairs, in one order everywhere.

    Attributes:
        frame: market, query (normalised), item_id, title, grade.
        markets: the profile's markets, in the order of their codes.
        label: 0/1 float32 (n,).
        market: codes int64 (n,).
        ngrams: the router's trigrams int64 (n, G).
        vectors: one float32 (n, D_i) an expert, in slot order.
        dense: the dense baseline's vectors float32 (n, D), where one is configured.
    """

    frame: pd.DataFrame
    markets: tuple[str, ...]
    label: Tensor
    market: Tensor
    ngrams: Tensor
    vectors: tuple[Tensor, ...]
    dense: Tensor | None = None

    def __len__(self) -> int:
        return len(self.label)


def load_judged(log: Path, encodings: Path, specs: tuple[ExpertSpec, ...], config: RelevanceConfig) -> Judged:
    """Join a log's judgments with their encodings; a pair judged more than once has its mean grade.

    Raises:
        BadInput: the labels are all of one class, there are fewer queries than folds, or a pair was not encoded.
    """
    markets = tuple(read_manifest(log)["markets"])
    frame = read_columns(log, "judgments", ["market", "query", "item_id", "grade"])
    frame["query"] = normalised(frame["query"])
    frame = frame.groupby(KEY, sort=True)["grade"].mean().reset_index()
    pairs = pq.read_table(encodings / "pairs.parquet", columns=[*KEY, "title"]).to_pandas()
    pairs["row"] = np.arange(len(pairs))
    frame = frame.merge(pairs, on=KEY, how="left", validate="one_to_one")
    if frame["row"].isna().any():
        raise BadInput(f"{encodings}: {int(frame['row'].isna().sum())} of {len(frame)} judged pairs are not encoded")
    label = (frame["grade"].to_numpy() >= config.grade_threshold).astype(np.float32)
    _check(label, frame["query"].nunique(), f"{log}: judgments", config)
    rows = frame.pop("row").to_numpy().astype(np.int64)
    codes = market_codes(markets)

    def vectors(name: str) -> Tensor:
        return torch.from_numpy(np.load(encodings / f"{name}.npy", mmap_mode="r")[rows])

    return Judged(
        frame=frame,
        markets=markets,
        label=torch.from_numpy(label),
        market=torch.from_numpy(frame["market"].map(codes).to_numpy().astype(np.int64)),
        ngrams=distinct_ngrams(frame["query"], config.ngram_buckets, config.max_ngrams),
        vectors=tuple(vectors(spec.name) for spec in specs),
        dense=vectors(config.dense.name) if config.dense else None,
    )


def distinct_ngrams(queries: pd.Series, buckets: int, max_ngrams: int) -> Tensor:
    """The router's trigrams int64 (n, G) of n queries; each distinct text is hashed once."""
    codes, distinct = pd.factorize(queries)
    return torch.from_numpy(query_ngrams(list(distinct), buckets, max_ngrams)[codes])


def query_folds(queries: pd.Series, folds: int, seed: int) -> np.ndarray:
    """Fold of each row, int64 (n,) in 0..folds-1; rows of one query text share it, whatever their market.

    Queries are ordered by a stable hash and dealt out so that folds have about as many rows each.
    """
    codes, distinct = pd.factorize(queries)
    sizes = np.bincount(codes, minlength=len(distinct))
    digests = [hashlib.md5(f"{seed}:{query}".encode(), usedforsecurity=False).hexdigest() for query in distinct]
    order = np.argsort(np.array(digests), kind="stable")
    # The query whose rows begin at share s of all rows goes to fold floor(s * folds).
    begins = np.cumsum(sizes[order]) - sizes[order]
    fold_of_query = np.empty(len(distinct), dtype=np.int64)
    fold_of_query[order] = begins * folds // len(codes)
    return fold_of_query[codes]


def _check(label: np.ndarray, queries: int, where: str, config: RelevanceConfig) -> None:
    positives = int(label.sum())
    if positives in (0, len(label)):
        raise BadInput(
            f"{where}: column grade: {positives} of {len(label)} pairs reach {config.grade_threshold:g}; "
            "training needs pairs above and below"
        )
    if queries < 2 * config.folds:
        raise BadInput(f"{where}: {queries} queries are too few for {config.folds} folds")
