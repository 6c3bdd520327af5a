"""The second pass of scoring: pairs that entire-space samples ask about and the log's searches did not hold.

A pseudo request's query was made up after the first pass. If only some of its pairs had a score, having one would tell
the label. What was scored is not scored again, and only the experts that a query chooses read its pairs.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from components.contracts.errors import BadInput
from components.contracts.schemas import RELEVANCE_SCORES, SAMPLES
from components.contracts.tables import Limits, read_table
from components.contracts.text import query_ngrams
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import input_digest, stage_directory, write_manifest
from components.relevance.config import RelevanceConfig
from components.relevance.encode import cached_vectors
from components.relevance.encoding.texts import normal_pairs
from components.relevance.judgments.pairs import KEY, read_columns
from components.relevance.model.mixture import Mixture, load_mixture
from components.relevance.model.spec import ExpertSpec, load_experts
from components.relevance.score import scored, write_scores
from components.relevance.scoring.reference import market_column

_logger = get_logger(__name__)
# Pairs that are encoded and scored at a time: what is held in memory.
_PART = 65_536


def complete_scores(
    log: Path, samples: Path, scores: Path, experts: Path, model: Path, config: RelevanceConfig, out: Path
) -> None:
    """Write the `scores` dataset with every pair of the samples in it: those of `scores`, and those it lacks.

    Raises:
        BadInput: samples or scores break their contract, an item has no title, or the experts are not the model's.
    """
    mixture = load_mixture(model)
    specs = {spec.name: spec for spec in load_experts(experts)}
    absent = [name for name in mixture.spec.experts if name not in specs]
    if absent:
        raise BadInput(f"{experts}: lacks the model's expert {', '.join(absent)}")
    limits = Limits(markets=mixture.spec.markets)
    known = read_table(scores / "scores.parquet", RELEVANCE_SCORES, limits).select(list(RELEVANCE_SCORES.columns))
    asked = read_table(samples / "samples.parquet", SAMPLES, limits).group_by(KEY).aggregate([])
    missing = asked.join(known.select(KEY), keys=KEY, join_type="left anti")
    pairs = _titled(missing.sort_by([(name, "ascending") for name in KEY]).to_pandas(), log)
    _logger.info("%d of the samples' %d pairs have no score yet", len(pairs), asked.num_rows)
    slots = [specs[name] for name in mixture.spec.experts]
    parts = [pairs.iloc[start : start + _PART] for start in range(0, len(pairs), _PART)]
    tables = [scored(mixture, part, _chosen_vectors(part, mixture, slots, experts, config), "pairs") for part in parts]
    table = pa.concat_tables([known, *(part.cast(known.schema) for part in tables)])
    with stage_directory(out) as root:
        write_scores(root, table.sort_by([(name, "ascending") for name in KEY]), mixture, model)
        inputs = {"log": log, "samples": samples, "scores": scores, "experts": experts, "model": model}
        write_manifest(
            root,
            "scores",
            config={},
            inputs={name: input_digest(path) for name, path in inputs.items()},
            metrics={"pairs": table.num_rows, "added": len(pairs)},
            packages=["torch"],
        )


def _titled(pairs: pd.DataFrame, log: Path) -> pd.DataFrame:
    """The pairs with the catalogue's titles."""
    titles = read_columns(log, "items", ["item_id", "title"]).set_index("item_id")["title"]
    pairs = pairs.assign(title=pairs["item_id"].map(titles))
    without = pairs.loc[pairs["title"].isna(), "item_id"]
    if len(without):
        raise BadInput(f"{log}: {len(without)} of {len(pairs)} pairs have no title (first: {without.iloc[0]!r})")
    return pairs


@torch.inference_mode()
def _chosen_vectors(
    pairs: pd.DataFrame, mixture: Mixture, slots: list[ExpertSpec], experts: Path, config: RelevanceConfig
) -> list[np.ndarray]:
    """float32 (n, D_i) of each expert, zeros where its query does not choose it."""
    read = normal_pairs(pairs["market"], pairs["query"], pairs["title"])
    sizes = mixture.spec.router
    ngrams = torch.from_numpy(query_ngrams([query for _, query, _ in read], sizes.ngram_buckets, sizes.max_ngrams))
    _, mask_nN = mixture.router(ngrams, torch.from_numpy(market_column(mixture, pairs["market"], "pairs")))
    vectors = []
    for slot, spec in enumerate(slots):
        vectors_nD = np.zeros((len(read), spec.dim), dtype=np.float32)
        rows = np.flatnonzero(mask_nN[:, slot].numpy())
        if len(rows):
            chosen = [read[row] for row in rows]
            texts = ["\0".join((spec.template, *pair)) for pair in chosen]
            vectors_nD[rows] = cached_vectors(experts / spec.name, spec, config, texts, chosen)
        vectors.append(vectors_nD)
    return vectors
