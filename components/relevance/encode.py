"""Encode a log's pairs with every expert, and its titles and queries with one."""

import gc
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from components.contracts.schemas import QUERY_VECTORS, TITLE_VECTORS
from components.contracts.tables import Limits, validate, write_table
from components.contracts.text import TEXT_VERSION
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import input_digest, stage_directory, write_manifest
from components.contracts.training.config import ONE_PROCESS, TrainingConfig
from components.relevance.config import ExpertConfig, RelevanceConfig, WeightsConfig
from components.relevance.encoding.cache import EmbeddingCache
from components.relevance.encoding.packed import PackedTextEncoder
from components.relevance.encoding.padded import TextEncoder
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.encoding.texts import CutCounts, Pair, normal_pairs
from components.relevance.experts.weights import expert_spec, prepare_expert, write_experts
from components.relevance.judgments.judged import fold_vectors, judged_labels
from components.relevance.judgments.pairs import KEY, distinct_pairs, distinct_titles
from components.relevance.model.spec import ExpertSpec
from components.relevance.tuning.folds import tune

_logger = get_logger(__name__)

# Pairs that are tokenised at a time where no vectors are made of them.
_TOKENISED = 65_536


def encode(
    log: Path,
    config: RelevanceConfig,
    encodings: Path,
    experts: Path,
    training: TrainingConfig = ONE_PROCESS,
) -> None:
    """Write the `encodings` dataset and the `experts` model directory of a log.

    encodings holds pairs.parquet (market, query, item_id, title, text_digest), `<expert>.npy` float32 (pairs, dim) in
    the same order, title_vectors.parquet and query_vectors.parquet (unit norm). Vectors come from the embedding cache
    where it has them. An expert that is to be tuned is tuned first, on all judged pairs and once outside each fold:
    `fold_vectors` are what judged pairs are evaluated with. A dense baseline is treated like an expert, but is none of
    the experts that are handed on; the manifest of the encodings says what it is.

    Raises:
        BadInput: no judgments, judgments of one class or of too few queries, an item without a title, an expert whose
            weights cannot be had, or whose steps do not divide among the processes.
    """
    config.require_even_steps(training.processes)
    pairs = distinct_pairs(log)
    titles = distinct_titles(log)
    queries = pairs[["market", "query"]].drop_duplicates(ignore_index=True)
    _logger.info("encoding %d pairs, %d titles, %d queries", len(pairs), len(titles), len(queries))
    judged = _with_titles(judged_labels(log, config), pairs)
    with stage_directory(encodings) as root:
        write_table(pa.Table.from_pandas(pairs, preserve_index=False), root / "pairs.parquet")
        prepared: dict[ExpertSpec, Path] = {}
        cut = CutCounts()
        for expert in (*config.experts, *([config.dense] if config.dense else [])):
            if expert.tuning:
                _encode_out_of_fold(expert, judged, config, training, root)
            if expert is config.dense and expert.tuning:
                continue  # it is never handed on: nobody asks for one that was tuned on all pairs
            folder, spec = _prepared(expert, judged, config, training)
            read = normal_pairs(pairs["market"], pairs["query"], pairs["title"])
            _count_cut(folder, spec, read, cut)
            texts = ["\0".join((spec.template, *pair)) for pair in read]
            np.save(root / f"{spec.name}.npy", cached_vectors(folder, spec, config, texts, read))
            if expert is not config.dense:
                prepared[spec] = folder
        with stage_directory(experts) as handed_on:
            write_experts(prepared, handed_on)
            packages = ["torch", "transformers", "peft"]
            write_manifest(handed_on, "experts", config.model_dump(mode="json"), {}, packages=packages)
        _write_text_vectors(root, config, titles, queries)
        _logger.info("too long for an expert, and cut: %s", cut)
        inputs = {"log": input_digest(log), "experts": input_digest(experts)}
        counts = {"pairs": len(pairs), "titles": len(titles), "queries": len(queries), "cut": cut.of_markets()}
        write_manifest(
            root,
            "encodings",
            config.model_dump(mode="json"),
            inputs,
            counts,
            packages=["torch"],
            dense=asdict(expert_spec(config.dense)) if config.dense else None,
        )


def judged_pairs(log: Path, config: RelevanceConfig) -> pd.DataFrame:
    """What experts are tuned on: `judged_labels` with each pair's title."""
    return _with_titles(judged_labels(log, config), distinct_pairs(log))


def _with_titles(judged: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    return judged.merge(pairs, on=KEY, how="left", validate="one_to_one")


def _prepared(
    expert: ExpertConfig, judged: pd.DataFrame, config: RelevanceConfig, training: TrainingConfig
) -> tuple[Path, ExpertSpec]:
    """Folder and spec of an expert; if it is to be tuned, of the one that was tuned on all judged pairs."""
    spec = expert_spec(expert)
    if expert.tuning is None:
        return prepare_expert(expert), spec
    pairs = normal_pairs(judged["market"], judged["query"], judged["title"])
    return tune(expert, judged, pairs, config, None, training)


def _encode_out_of_fold(
    expert: ExpertConfig, judged: pd.DataFrame, config: RelevanceConfig, training: TrainingConfig, root: Path
) -> None:
    """Write the vectors of judged pairs by the expert tuned outside each fold."""
    name = expert.name
    pairs = normal_pairs(judged["market"], judged["query"], judged["title"])
    for fold in range(config.folds):
        folder, tuned = tune(expert, judged, pairs, config, fold, training)
        vectors = _encoder(folder, tuned, config).encode_pairs(pairs, f"encode with {name}, fold {fold}")
        np.save(fold_vectors(root, name, fold), vectors)


def _count_cut(folder: Path, spec: ExpertSpec, pairs: Sequence[Pair], counts: CutCounts) -> None:
    """How many pairs are too long for an expert, by market; also of those whose vectors are stored."""
    tokenizer = PairTokenizer.load(folder, spec)
    for start in range(0, len(pairs), _TOKENISED):
        columns = list(zip(*pairs[start : start + _TOKENISED], strict=True))
        cut_R2 = tokenizer.tokens(*columns).cut_R2
        assert cut_R2 is not None
        counts(spec.name, columns[0], cut_R2)


def cached_vectors(
    folder: Path,
    spec: ExpertSpec,
    config: RelevanceConfig,
    texts: Sequence[str],
    pairs: Sequence[Pair] | None = None,
) -> np.ndarray:
    """float32 (n, dim), from the embedding cache; the expert is loaded for the texts that are not stored.

    `texts` name pairs where `pairs` holds them, and are read themselves elsewhere.
    """

    encoder: TextEncoder | PackedTextEncoder | None = None

    def compute(rows: np.ndarray) -> np.ndarray:
        nonlocal encoder
        encoder = encoder or _encoder(folder, spec, config)
        said = f"encode {len(rows)} texts with {spec.name}"
        if pairs is None:
            return encoder.encode([texts[row] for row in rows], said)
        return encoder.encode_pairs([pairs[row] for row in rows], said)

    identity = [spec.digest, spec.pooling, str(spec.separator_id), str(spec.max_tokens), f"text {TEXT_VERSION}"]
    identity += [] if config.precision == "float32" else [config.precision]
    # What runs packs prepares texts ahead, and wants more of them at a time.
    part = 2048 if config.precision == "float32" else 32_768
    return EmbeddingCache(cache_folder() / "embeddings", identity, spec.dim, part).lookup(texts, compute)


def _encoder(folder: Path, spec: ExpertSpec, config: RelevanceConfig) -> TextEncoder | PackedTextEncoder:
    # A compiled expert refers to itself: the last one's memory is free once it is collected.
    gc.collect()
    if config.precision == "float32":
        return TextEncoder(folder, spec, config.encode_tokens)
    return PackedTextEncoder(folder, spec, config.precision)


def _write_text_vectors(root: Path, config: RelevanceConfig, titles: pd.DataFrame, queries: pd.DataFrame) -> None:
    texts = config.texts
    spec = expert_spec(ExpertConfig(**texts.model_dump(include=set(WeightsConfig.model_fields))))
    distinct = queries["query"].unique()
    inputs = [texts.item_template.format(text=text) for text in titles["title"]]
    inputs += [texts.query_template.format(text=text) for text in distinct]
    unit = _unit(cached_vectors(prepare_expert(texts), spec, config, inputs))
    of_query = pd.Series(np.arange(len(titles), len(unit)), index=distinct)
    limits = Limits(markets=sorted(set(queries["market"])))
    title_table = pa.table({"item_id": titles["item_id"], "vector": _lists(unit[: len(titles)])})
    write_table(validate(title_table, TITLE_VECTORS, "title vectors"), root / "title_vectors.parquet")
    query_table = pa.table(
        {"market": queries["market"], "query": queries["query"], "vector": _lists(unit[of_query[queries["query"]]])}
    )
    write_table(validate(query_table, QUERY_VECTORS, "query vectors", limits), root / "query_vectors.parquet")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12))


def _lists(vectors: np.ndarray) -> pa.ListArray:
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.astype(np.float32).ravel()))
