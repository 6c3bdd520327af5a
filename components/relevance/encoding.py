"""Encode a log's pairs with every expert, and its titles and queries with one."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from components.contracts.log import get_logger
from components.contracts.manifest import input_digest, stage_directory, write_manifest
from components.contracts.schemas import QUERY_VECTORS, TITLE_VECTORS
from components.contracts.tables import Limits, validate, write_table
from components.contracts.text import format_pair
from components.relevance.cache import EmbeddingCache
from components.relevance.config import RelevanceConfig
from components.relevance.model.spec import ExpertSpec
from components.relevance.pairs import distinct_pairs, distinct_titles
from components.relevance.weights import cache_directory, export_experts

_logger = get_logger("archipelago.relevance")


def encode(log: Path, config: RelevanceConfig, encodings: Path, experts: Path) -> None:
    """Write the `encodings` dataset and the `experts` model directory of a log.

    encodings holds pairs.parquet (market, query, item_id, title, text_digest), `<expert>.npy` float32 (pairs, dim) in
    the same order, title_vectors.parquet and query_vectors.parquet (unit norm). Vectors come from the embedding cache
    where it has them.

    Raises:
        BadInput: no judgments, an item without a title, or an expert whose weights cannot be had.
    """
    pairs = distinct_pairs(log)
    titles = distinct_titles(log)
    queries = pairs[["market", "query"]].drop_duplicates(ignore_index=True)
    _logger.info("encoding %d pairs, %d titles, %d queries", len(pairs), len(titles), len(queries))
    with stage_directory(experts) as root:
        specs = export_experts(config.experts, root)
        write_manifest(root, "experts", config.model_dump(mode="json"), {}, packages=["torch", "transformers"])
    with stage_directory(encodings) as root:
        write_table(pa.Table.from_pandas(pairs, preserve_index=False), root / "pairs.parquet")
        for spec in specs:
            encoder = _Encoder(experts, spec, config)
            texts = pair_texts(spec, pairs["market"], pairs["query"], pairs["title"])
            np.save(root / f"{spec.name}.npy", encoder.encode(texts))
            if spec.name == config.vectors:
                _write_single_vectors(root, encoder.for_single_texts(), titles, queries)
        inputs = {"log": input_digest(log), "experts": input_digest(experts)}
        counts = {"pairs": len(pairs), "titles": len(titles), "queries": len(queries)}
        write_manifest(root, "encodings", config.model_dump(mode="json"), inputs, counts, packages=["torch"])


def pair_texts(spec: ExpertSpec, markets: Iterable[str], queries: Iterable[str], titles: Iterable[str]) -> list[str]:
    """An expert's input texts of n pairs."""
    return [
        format_pair(spec.template, market, query, title)
        for market, query, title in zip(markets, queries, titles, strict=True)
    ]


class _Encoder:
    """An expert behind the embedding cache; its weights are loaded on the first text that is not stored."""

    def __init__(self, experts: Path, spec: ExpertSpec, config: RelevanceConfig) -> None:
        self.experts, self.spec, self.config = experts, spec, config

    def encode(self, texts: list[str]) -> np.ndarray:
        """float32 (n, dim)."""
        identity = (self.spec.digest, str(self.spec.layer), self.spec.pooling, str(self.spec.max_tokens))
        cache = EmbeddingCache(cache_directory() / "embeddings", identity, self.spec.dim)
        return cache.lookup(texts, self._compute)

    def for_single_texts(self) -> "_Encoder":
        """The same expert, pooling by the mean."""
        return _Encoder(self.experts, replace(self.spec, pooling="mean"), self.config)

    def _compute(self, texts: list[str]) -> np.ndarray:
        from components.relevance.encoder import TextEncoder

        encoder = TextEncoder(self.experts, self.spec, self.config.encode_tokens)
        return encoder.encode(texts, f"encode with {self.spec.name}")


def _write_single_vectors(root: Path, encoder: _Encoder, titles: pd.DataFrame, queries: pd.DataFrame) -> None:
    title_texts = [encoder.spec.item_template.format(text=text) for text in titles["title"]]
    query_texts = [encoder.spec.query_template.format(text=text) for text in queries["query"]]
    unit = _unit(encoder.encode(title_texts + query_texts))
    limits = Limits(markets=sorted(set(queries["market"])))
    title_table = pa.table({"item_id": titles["item_id"], "vector": _lists(unit[: len(titles)])})
    write_table(validate(title_table, TITLE_VECTORS, "title vectors"), root / "title_vectors.parquet")
    query_table = pa.table(
        {"market": queries["market"], "query": queries["query"], "vector": _lists(unit[len(titles) :])}
    )
    write_table(validate(query_table, QUERY_VECTORS, "query vectors", limits), root / "query_vectors.parquet")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12))


def _lists(vectors: np.ndarray) -> pa.ListArray:
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.astype(np.float32).ravel()))
