"""Relevance of every encoded pair, from the stored vectors.

Shape suffixes: n pairs, B pairs of a chunk, K experts chosen.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.contracts.errors import BadInput
from components.contracts.schemas import RELEVANCE_SCORES
from components.contracts.tables import Limits, validate, write_table
from components.contracts.text import normalise_title
from components.contracts.tools.distinct import map_distinct
from components.contracts.tools.manifest import input_digest, read_json, stage_directory, write_json, write_manifest
from components.relevance.judgments.judged import distinct_ngrams
from components.relevance.model.mixture import Mixture, load_mixture
from components.relevance.scoring.reference import market_column

THRESHOLDS = "thresholds.json"
_CHUNK = 8192


def score_pairs(encodings: Path, model: Path, out: Path) -> None:
    """Write the `scores` dataset: scores.parquet (RELEVANCE_SCORES) of every encoded pair, and thresholds.json.

    Raises:
        BadInput: the encodings were made for other experts or markets than the model's.
    """
    mixture = load_mixture(model)
    pairs = pq.read_table(encodings / "pairs.parquet").to_pandas()
    vectors = [_open_vectors(encodings, name, dim) for name, dim in zip(*_slots(mixture), strict=True)]
    table = scored(mixture, pairs, vectors, f"{encodings}: pairs")
    with stage_directory(out) as root:
        write_scores(root, table, mixture, model)
        inputs_used = {"encodings": input_digest(encodings), "model": input_digest(model)}
        mean = table.group_by("market").aggregate([("relevance", "mean")]).sort_by("market").to_pydict()
        means = dict(zip(mean["market"], mean["relevance_mean"], strict=True))
        metrics = {"pairs": len(pairs), "mean_relevance": means}
        write_manifest(root, "scores", {}, inputs_used, metrics, packages=["torch"])


def scored(mixture: Mixture, pairs: pd.DataFrame, vectors: Sequence[np.ndarray], where: str) -> pa.Table:
    """The rows of RELEVANCE_SCORES of n pairs.

    Args:
        mixture: router and fusion.
        pairs: market, query (normalised), item_id, title.
        vectors: float32 (n, D_i) of every expert; rows of experts that a query does not choose are never read.
        where: names the pairs in errors.

    Raises:
        BadInput: a market that the model does not know.
    """
    market = torch.from_numpy(market_column(mixture, pairs["market"], where))
    sizes = mixture.spec.router
    ngrams = distinct_ngrams(pairs["query"], sizes.ngram_buckets, sizes.max_ngrams)
    titles = map_distinct(normalise_title, pairs["title"])
    lexical = torch.from_numpy(mixture.lexical.logits(pairs["query"].tolist(), list(titles)))
    relevance_n = np.empty(len(pairs), dtype=np.float32)
    chosen_nK = np.empty((len(pairs), mixture.spec.top_k), dtype=np.int64)
    for start in range(0, len(pairs), _CHUNK):
        rows = slice(start, start + _CHUNK)
        inputs = tuple(torch.from_numpy(np.ascontiguousarray(array[rows])) for array in vectors)
        relevance_B, chosen_BK = mixture.score(ngrams[rows], market[rows], inputs, lexical[rows])
        relevance_n[rows], chosen_nK[rows] = relevance_B.numpy(), chosen_BK.numpy()
    lists = pa.FixedSizeListArray.from_arrays(chosen_nK.ravel(), chosen_nK.shape[1])
    return pa.table(
        {
            "market": pairs["market"],
            "query": pairs["query"],
            "item_id": pairs["item_id"],
            "relevance": relevance_n,
            "experts": lists.cast(pa.list_(pa.int64())),
        }
    )


def write_scores(root: Path, table: pa.Table, mixture: Mixture, model: Path) -> None:
    """Write scores.parquet, checked, and the model's thresholds beside it."""
    checked = validate(table, RELEVANCE_SCORES, "relevance scores", Limits(markets=mixture.spec.markets))
    write_table(checked, root / "scores.parquet")
    write_json(root / THRESHOLDS, read_json(model / THRESHOLDS))


def _slots(mixture: Mixture) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return mixture.spec.experts, mixture.spec.dims


def _open_vectors(encodings: Path, name: str, dim: int) -> np.ndarray:
    path = encodings / f"{name}.npy"
    if not path.is_file():
        raise BadInput(f"{encodings}: no vectors of the model's expert {name}")
    vectors: np.ndarray = np.load(path, mmap_mode="r")
    if vectors.shape[1] != dim:
        raise BadInput(f"{path}: width {vectors.shape[1]}, the model reads {dim}")
    return vectors
