"""Relevance of pairs: in bulk from stored encodings, and from raw texts (the reference that serving must equal)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.contracts.errors import BadInput
from components.contracts.manifest import input_digest, read_json, stage_directory, write_json, write_manifest
from components.contracts.markets import market_codes
from components.contracts.schemas import RELEVANCE_SCORES
from components.contracts.tables import Limits, validate, write_table
from components.contracts.text import normalise_query, query_ngrams
from components.relevance.encoder import TextEncoder
from components.relevance.encoding import pair_texts
from components.relevance.judged import distinct_ngrams
from components.relevance.model.mixture import Mixture, load_mixture
from components.relevance.model.spec import load_experts

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
    market = torch.from_numpy(_codes(mixture, pairs["market"], f"{encodings}: pairs"))
    sizes = mixture.spec.router
    ngrams = distinct_ngrams(pairs["query"], sizes.ngram_buckets, sizes.max_ngrams)
    relevance = np.empty(len(pairs), dtype=np.float32)
    experts = np.empty((len(pairs), mixture.spec.top_k), dtype=np.int64)
    for start in range(0, len(pairs), _CHUNK):
        rows = slice(start, start + _CHUNK)
        inputs = tuple(torch.from_numpy(np.ascontiguousarray(array[rows])) for array in vectors)
        scored, chosen = mixture.score(ngrams[rows], market[rows], inputs)
        relevance[rows], experts[rows] = scored.numpy(), chosen.numpy()
    table = pa.table(
        {
            "market": pairs["market"],
            "query": pairs["query"],
            "item_id": pairs["item_id"],
            "relevance": relevance,
            "experts": pa.FixedSizeListArray.from_arrays(experts.ravel(), experts.shape[1]).cast(pa.list_(pa.int64())),
        }
    )
    with stage_directory(out) as root:
        checked = validate(table, RELEVANCE_SCORES, "relevance scores", Limits(markets=mixture.spec.markets))
        write_table(checked, root / "scores.parquet")
        write_json(root / THRESHOLDS, read_json(model / THRESHOLDS))
        inputs_used = {"encodings": input_digest(encodings), "model": input_digest(model)}
        mean = pairs.assign(relevance=relevance).groupby("market")["relevance"].mean()
        metrics = {"pairs": len(pairs), "mean_relevance": {str(name): float(value) for name, value in mean.items()}}
        write_manifest(root, "scores", {}, inputs_used, metrics, packages=["torch"])


class RelevanceScorer:
    """The torch float32 reference: raw texts in, relevance out; only the experts that a query chose are run."""

    def __init__(self, mixture: Mixture, encoders: Sequence[TextEncoder]) -> None:
        self.mixture = mixture
        self.encoders = encoders

    @classmethod
    def load(cls, model: Path, experts: Path) -> "RelevanceScorer":
        """From a relevance model's directory and the `experts` directory it was trained with."""
        mixture = load_mixture(model)
        specs = {spec.name: spec for spec in load_experts(experts)}
        missing = [name for name in mixture.spec.experts if name not in specs]
        if missing:
            raise BadInput(f"{experts}: lacks the model's expert {', '.join(missing)}")
        return cls(mixture, [TextEncoder(experts / name, specs[name]) for name in mixture.spec.experts])

    @torch.inference_mode()
    def score(
        self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Relevance float32 (n,) and chosen experts int64 (n, k), best first, of n raw (not normalised) pairs.

        A pair's answer does not depend on the others of the call, to about 1e-6.
        """
        if not len(markets) == len(queries) == len(titles):
            raise BadInput(f"{len(markets)} markets, {len(queries)} queries, {len(titles)} titles: lengths differ")
        if not len(markets):
            return np.empty(0, dtype=np.float32), np.empty((0, self.mixture.spec.top_k), dtype=np.int64)
        codes = torch.from_numpy(_codes(self.mixture, pd.Series(list(markets)), "markets"))
        sizes = self.mixture.spec.router
        normal = [normalise_query(query) for query in queries]
        ngrams = torch.from_numpy(query_ngrams(normal, sizes.ngram_buckets, sizes.max_ngrams))
        experts_BK, mask_BN = self.mixture.router(ngrams, codes)
        vectors = []
        for slot, encoder in enumerate(self.encoders):
            vectors_BD = torch.zeros(len(normal), encoder.spec.dim)
            rows = np.flatnonzero(mask_BN[:, slot].numpy())
            if len(rows):
                texts = pair_texts(encoder.spec, markets, normal, titles)
                vectors_BD[rows] = torch.from_numpy(encoder.encode([texts[row] for row in rows]))
            vectors.append(vectors_BD)
        return self.mixture.fusion(*vectors, mask_BN).numpy(), experts_BK.numpy()


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


def _codes(mixture: Mixture, markets: pd.Series, where: str) -> np.ndarray:
    known = market_codes(mixture.spec.markets)
    codes = markets.map(known)
    if codes.isna().any():
        unknown = markets[codes.isna()].iloc[0]
        raise BadInput(
            f"{where}: column market: {int(codes.isna().sum())} of {len(markets)} rows are not one of "
            f"{', '.join(known)} (first: {unknown!r})"
        )
    return codes.to_numpy().astype(np.int64)
