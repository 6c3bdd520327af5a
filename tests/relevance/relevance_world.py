"""A small judged log and tiny experts from scratch, for the tests of the relevance stage."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from components.contracts.tables import write_table
from components.contracts.text import normalise_query, normalise_title
from components.contracts.tools.manifest import write_manifest
from components.relevance.config import ExpertConfig, RelevanceConfig, TextConfig
from components.relevance.experts.weights import expert_spec, prepare_expert, write_experts
from components.relevance.fitting.lexical import fit_lexical
from components.relevance.model.lexical import Lexical
from components.relevance.model.spec import ExpertSpec

MARKETS = ("ID", "TH", "VN")
WORDS = {
    "ID": ("sepatu", "tas", "kemeja", "casing hp", "lampu", "panci"),
    "TH": ("รองเท้า", "กระเป๋า", "เสื้อเชิ้ต", "เคสมือถือ", "โคมไฟ", "หม้อ"),
    "VN": ("giày", "túi xách", "áo sơ mi", "ốp lưng", "đèn bàn", "nồi"),
}
COLOURS = ("red", "blue", "black", "white", "green")


def tiny_config(**changes: object) -> RelevanceConfig:
    experts = (
        ExpertConfig(name="tiny-gemma", source="tiny:gemma3", layer=1, pooling="segments", separator="\n"),
        ExpertConfig(name="tiny-bert", source="tiny:bert", pooling="last"),
        ExpertConfig(name="tiny-qwen", source="tiny:qwen3"),
    )
    settings = {
        "experts": experts,
        "texts": TextConfig(name="tiny-texts", source="tiny:bert"),
        "epochs": 4,
        "folds": 2,
        "bootstrap": 20,
        "fusion_hidden": (16, 8),
        "router_width": 8,
        "ngram_buckets": 256,
        "batch_size": 64,
    }
    return RelevanceConfig.model_validate(settings | changes)


def frozen_experts(configs: tuple[ExpertConfig, ...], directory: Path) -> tuple[ExpertSpec, ...]:
    """An `experts` directory of these, as encoding a log leaves it."""
    folders = {expert_spec(config): prepare_expert(config) for config in configs}
    write_experts(folders, directory)
    return tuple(folders)


def write_judgments(log: Path, frame: pd.DataFrame, markets: tuple[str, ...] = MARKETS) -> Path:
    log.mkdir(parents=True, exist_ok=True)
    write_table(pa.Table.from_pandas(frame, preserve_index=False), log / "judgments.parquet")
    write_manifest(log, "log", {}, {}, simulated=True, markets=list(markets), as_of="2026-01-01T00:00:00Z")
    return log


def judgments(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Items of the query's own word are relevant; others are not."""
    random = np.random.default_rng(seed)
    records = []
    for number in range(rows):
        market = MARKETS[number % len(MARKETS)]
        wanted, colour = random.integers(6), COLOURS[random.integers(5)]
        shown = wanted if random.random() < 0.5 else random.integers(6)
        records.append(
            {
                "query_id": f"q{number}",
                "market": market,
                "query": f"{WORDS[market][wanted]} {colour} {random.integers(12)}",
                "item_id": f"i{number}",
                "title": f"{WORDS[market][shown]} {COLOURS[random.integers(5)]} Original Promo",
                "grade": float(shown == wanted),
            }
        )
    return pd.DataFrame(records)


def lexical_expert() -> Lexical:
    """One that has learned from `judgments`."""
    pairs = judgments()
    texts = pd.DataFrame({"query": pairs["query"].map(normalise_query), "title": pairs["title"].map(normalise_title)})
    rows = np.arange(len(pairs))
    return fit_lexical(texts, pairs["grade"].to_numpy(), rows[:200], rows[200:])


@dataclass(frozen=True)
class Trained:
    config: RelevanceConfig
    log: Path
    encodings: Path
    experts: Path
    model: Path
    scores: Path
