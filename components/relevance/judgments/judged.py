"""Judged pairs as arrays: embeddings, router inputs, labels, and folds that never split a query."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import Tensor

from components.contracts.errors import BadInput
from components.contracts.markets import market_codes
from components.contracts.text import normalise_query, normalise_title, query_ngrams
from components.contracts.tools.distinct import map_distinct
from components.contracts.tools.manifest import read_manifest
from components.relevance.config import RelevanceConfig
from components.relevance.judgments.pairs import KEY, read_columns
from components.relevance.model.spec import ExpertSpec


@dataclass(frozen=True)
class Judged:
    """n judged pairs, in one order everywhere.

    Attributes:
        frame: market, query and title (normalised), item_id, grade.
        markets: the profile's markets, in the order of their codes.
        label: 0/1 float32 (n,).
        market: codes int64 (n,).
        ngrams: the router's trigrams int64 (n, G).
        vectors: one float32 (n, D_i) per expert, in slot order.
        dense: the dense baseline's vectors float32 (n, D), where one is configured; a tuned one's are in `tuned_dense`.
        tuned, tuned_dense: files of a tuned expert's vectors, one per fold (`fold_vectors`); None for a frozen one.
    """

    frame: pd.DataFrame
    markets: tuple[str, ...]
    label: Tensor
    market: Tensor
    ngrams: Tensor
    vectors: tuple[Tensor, ...]
    dense: Tensor | None = None
    tuned: tuple[list[Path] | None, ...] = ()
    tuned_dense: list[Path] | None = None

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device) -> "Judged":
        """The same pairs, their tensors on a device."""
        return replace(
            self,
            label=self.label.to(device),
            market=self.market.to(device),
            ngrams=self.ngrams.to(device),
            vectors=tuple(kept.to(device) for kept in self.vectors),
            dense=None if self.dense is None else self.dense.to(device),
        )

    def at(self, rows: np.ndarray) -> "Judged":
        """Some of the pairs, of frozen experts: tuned ones were tuned outside the folds of all."""
        assert not any(self.tuned) and not self.tuned_dense
        return replace(
            self,
            frame=self.frame.iloc[rows].reset_index(drop=True),
            label=self.label[rows],
            market=self.market[rows],
            ngrams=self.ngrams[rows],
            vectors=tuple(kept[rows] for kept in self.vectors),
            dense=None if self.dense is None else self.dense[rows],
        )

    def of_fold(self, fold: int) -> "Judged":
        """The same pairs as experts see them that never saw the fold's queries."""

        def read(kept: Tensor | None, files: list[Path] | None) -> Tensor | None:
            return torch.from_numpy(np.load(files[fold])) if files else kept

        files = self.tuned or (None,) * len(self.vectors)
        vectors = [read(kept, own) for kept, own in zip(self.vectors, files, strict=True)]
        return replace(
            self,
            vectors=tuple(kept for kept in vectors if kept is not None),
            dense=read(self.dense, self.tuned_dense),
        )


def judged_labels(log: Path, config: RelevanceConfig) -> pd.DataFrame:
    """market, query (normalised), item_id, grade, label (0/1 float32), sorted by the first three.

    A pair judged more than once has its mean grade.

    Raises:
        BadInput: the labels are all of one class, or there are fewer queries than folds.
    """
    frame = read_columns(log, "judgments", ["market", "query", "item_id", "grade"])
    frame["query"] = map_distinct(normalise_query, frame["query"])
    frame = frame.groupby(KEY, sort=True)["grade"].mean().reset_index()
    frame["label"] = (frame["grade"] >= config.grade_threshold).astype(np.float32)
    _check(frame["label"].to_numpy(), frame["query"].nunique(), f"{log}: judgments", config)
    return frame


def load_judged(log: Path, encodings: Path, specs: tuple[ExpertSpec, ...], config: RelevanceConfig) -> Judged:
    """Join a log's judgments with their encodings.

    Raises:
        BadInput: as `judged_labels`; a pair was not encoded; or experts were tuned outside other folds than these.
    """
    markets = tuple(read_manifest(log)["markets"])
    frame = judged_labels(log, config)
    pairs = pq.read_table(encodings / "pairs.parquet", columns=[*KEY, "title"]).to_pandas()
    pairs["row"] = np.arange(len(pairs))
    frame = frame.merge(pairs, on=KEY, how="left", validate="one_to_one")
    if frame["row"].isna().any():
        raise BadInput(f"{encodings}: {int(frame['row'].isna().sum())} of {len(frame)} judged pairs are not encoded")
    frame["title"] = map_distinct(normalise_title, frame["title"])
    label = frame.pop("label").to_numpy()
    rows = frame.pop("row").to_numpy().astype(np.int64)
    codes = market_codes(markets)

    def vectors(name: str) -> Tensor:
        return torch.from_numpy(np.load(encodings / f"{name}.npy", mmap_mode="r")[rows])

    slots = [spec.name for spec in specs]
    tuned = {
        name: [fold_vectors(encodings, name, fold) for fold in range(config.folds)]
        for name in (*slots, *([config.dense.name] if config.dense else []))
        if fold_vectors(encodings, name, 0).is_file()
    }
    if tuned:
        _check_folds(read_manifest(encodings)["config"], config, encodings)
    return Judged(
        frame=frame,
        markets=markets,
        label=torch.from_numpy(label),
        market=torch.from_numpy(frame["market"].map(codes).to_numpy().astype(np.int64)),
        ngrams=distinct_ngrams(frame["query"], config.ngram_buckets, config.max_ngrams),
        vectors=tuple(vectors(name) for name in slots),
        dense=vectors(config.dense.name) if config.dense and config.dense.name not in tuned else None,
        tuned=tuple(tuned.get(name) for name in slots),
        tuned_dense=tuned.get(config.dense.name) if config.dense else None,
    )


def fold_vectors(encodings: Path, name: str, fold: int) -> Path:
    """Where a tuned expert's vectors lie that are out of fold: of judged pairs, by the expert that never saw the fold's
    queries; float32 (n, D) in the order of `judged_labels`."""
    return encodings / f"{name}.fold-{fold}.npy"


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


def split_valid(
    queries: pd.Series, rows: np.ndarray, config: RelevanceConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows by query into training rows and about `valid_fraction` validation rows."""
    parts = max(2, round(1 / config.valid_fraction))
    is_valid = query_folds(queries.iloc[rows], parts, seed + 1_000_003) == 0
    return rows[~is_valid], rows[is_valid]


def training_rows(queries: pd.Series, config: RelevanceConfig, fold: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation rows outside a fold; None: of all rows, for what is released."""
    everything = np.arange(len(queries))
    if fold is None:
        return split_valid(queries, everything, config, config.seed + config.folds)
    outside = everything[query_folds(queries, config.folds, config.seed) != fold]
    return split_valid(queries, outside, config, config.seed + fold)


def _check_folds(encoded: Mapping[str, Any], config: RelevanceConfig, encodings: Path) -> None:
    """Experts were tuned outside the folds of the encodings' configuration: other folds would leak."""
    for name in ("seed", "folds", "valid_fraction", "grade_threshold"):
        if encoded[name] != getattr(config, name):
            raise BadInput(
                f"{encodings}: experts were tuned with {name} {encoded[name]}, not {getattr(config, name)}: encode anew"
            )


def _check(label: np.ndarray, queries: int, where: str, config: RelevanceConfig) -> None:
    positives = int(label.sum())
    if positives in (0, len(label)):
        raise BadInput(
            f"{where}: column grade: {positives} of {len(label)} pairs reach {config.grade_threshold:g}; "
            "training needs pairs above and below"
        )
    if queries < 2 * config.folds:
        raise BadInput(f"{where}: {queries} queries are too few for {config.folds} folds")
