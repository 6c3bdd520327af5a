"""Inputs of a release, small and quickly made: a simulated log, tiny random experts, an untrained mixture and ranker.

Stored scores are arbitrary numbers: serving must hand them through, not reproduce them.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from components.contracts.blend import Blend
from components.contracts.releases import PROFILE
from components.contracts.tables import write_table
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import atomic_directory, read_json, write_json, write_manifest
from components.features.config import FeaturesConfig
from components.features.tables import build_feature_tables
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from components.ranking.model.rankers import build_ranker
from components.ranking.model.serving import save_ranker
from components.ranking.model.spec import RankerSpec
from components.release.build import build_release
from components.release.config import ReleaseConfig
from components.release.inputs import RankingInputs, RelevanceInputs
from components.relevance.config import ExpertConfig
from components.relevance.model.mixture import new_mixture
from components.relevance.model.spec import FusionSpec, MixtureSpec, RouterSpec
from tests.built_once import built_once
from tests.relevance.relevance_world import frozen_experts

MARKETS = ("ID", "TH")
PRIOR = {"ID": 0.3, "TH": 0.4}
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = ReleaseConfig(
    golden_requests=6, golden_items=8, golden_pairs=4, micro_batch=4, max_computed=8, deadline_ms=60_000
)
_SEGMENTS = {"source": "tiny:bert", "pooling": "segments", "separator": "<eos>"}
# The first two share one random network, hence one export, behind different templates.
EXPERTS = (
    ExpertConfig(name="bert-one", template="{query}<eos>{item}", max_tokens=48, **_SEGMENTS),
    ExpertConfig(name="bert-two", template="{market} {query}<eos>{item}", max_tokens=24, **_SEGMENTS),
    ExpertConfig(name="qwen", source="tiny:qwen3", pooling="last", max_tokens=48),
)


@dataclass(frozen=True)
class World:
    """What inputs are made of.

    Attributes:
        marketplace: the simulated log.
        experts: of the mixture.
        ranker: widths of the untrained ranker.
        whole_queries: queries per market with a stored relevance of every item, beside the candidates' own.
        weight_std: of the ranker's matrices; fresh ones would answer 0.5 to everything.
    """

    marketplace: MarketplaceConfig
    experts: tuple[ExpertConfig, ...]
    ranker: RankerSpec
    whole_queries: int = 0
    weight_std: float = 0.2


TINY = World(
    MarketplaceConfig(
        markets=MARKETS,
        days=14,
        items=40,
        users=12,
        queries=8,
        search_requests=60,
        rec_requests=20,
        shop_requests=20,
    ),
    EXPERTS,
    RankerSpec(embedding_dim=4, token_width=8, hfa_layers=1, gfa_blocks=1, sample_width=8),
)


@dataclass(frozen=True)
class Inputs:
    """Directories as the stages before a release leave them."""

    relevance: RelevanceInputs
    ranking: RankingInputs


@dataclass(frozen=True)
class Tiny:
    """Inputs, and the two releases built from them."""

    inputs: Inputs
    search: Path
    relevance_only: Path


def tiny_releases(factory: pytest.TempPathFactory) -> Tiny:
    """Both releases, built once per test session, with a cache of their own."""
    root = built_once(factory, "tiny", _build_tiny)
    names = read_json(root / "releases.json")
    return Tiny(_inputs_in(root / "inputs"), root / names["search"], root / names["alone"])


def _build_tiny(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIPELAGO_CACHE", str(root / "cache"))
        inputs = write_inputs(root / "inputs")
        search = build_release(inputs.relevance, inputs.ranking, CONFIG, AS_OF, root / "releases")
        alone = build_release(inputs.relevance, None, CONFIG, AS_OF, root / "releases")
    names = {"search": str(search.relative_to(root)), "alone": str(alone.relative_to(root))}
    write_json(root / "releases.json", names)


def _inputs_in(root: Path) -> Inputs:
    names = ("log", "experts", "encodings", "model", "scores", "drift", "verdict")
    ranking = RankingInputs(root / "samples", root / "features", root / "ranker")
    return Inputs(RelevanceInputs(**{name: root / name for name in names}), ranking)


def write_inputs(root: Path, world: World = TINY) -> Inputs:
    """Make every input of a search release under `root`; the same ones every time."""
    root.mkdir(exist_ok=True)
    inputs = _inputs_in(root)
    paths, ranking = asdict(inputs.relevance), inputs.ranking
    simulate(world.marketplace, AS_OF, paths["log"])
    _write_relevance(paths, world)
    build_feature_tables(paths["log"], paths["scores"], FeaturesConfig(), AS_OF, ranking.features)
    _write_ranker(ranking.ranker, world)
    _write_empty(ranking.samples, "samples", "volumes.json", {"by_split": [{"split": "train", "rows": 10}]})
    _write_empty(paths["drift"], "drift", "drift.json", {"drifted": False})
    write_json(paths["drift"] / PROFILE, {"kind": "data profile"})
    write_verdict(paths["verdict"], passed=True)
    return inputs


def write_verdict(directory: Path, passed: bool) -> None:
    """A gate's verdict."""
    checks = [{"passed": passed, "why": "made for a test"}]
    _write_empty(directory, "verdict", "verdict.json", {"passed": passed, "checks": checks})


def _write_relevance(paths: dict[str, Path], world: World) -> None:
    paths["experts"].mkdir()
    specs = frozen_experts(world.experts, paths["experts"])
    write_manifest(paths["experts"], "experts", {}, {})

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        mixture = new_mixture(
            MixtureSpec(
                world.marketplace.markets,
                tuple(spec.name for spec in specs),
                tuple(spec.dim for spec in specs),
                2,
                RouterSpec(ngram_buckets=256, max_ngrams=24, width=8),
                FusionSpec((16, 8), 0.1, 0.1),
            )
        )
        for parameter in mixture.router.parameters():  # far from ties, and different queries go different ways
            torch.nn.init.normal_(parameter, std=1.5)
    with atomic_directory(paths["model"]) as root:
        mixture.save(root)
        variant = {"ID": 0.75, "TH": 0.5, "macro": 0.625, "pooled": 0.6, "interval": {}}
        write_manifest(root, "relevance-model", {}, {}, {"relevance": {"mixture": variant}})

    pairs = _pairs(paths["log"], world.whole_queries)
    with atomic_directory(paths["encodings"]) as root:
        write_table(pairs, root / "pairs.parquet")
        write_manifest(root, "encodings", {}, {})
    keys = zip(*(pairs[name].to_pylist() for name in ("market", "query", "item_id")), strict=True)
    relevance = [int(hashlib.md5("|".join(key).encode()).hexdigest()[:6], 16) / 0xFFFFFF for key in keys]
    scores = pairs.select(["market", "query", "item_id"])
    scores = scores.append_column("relevance", pa.array(relevance, pa.float32()))
    scores = scores.append_column("experts", pa.array([[0, 1]] * pairs.num_rows, pa.list_(pa.int64())))
    with atomic_directory(paths["scores"]) as root:
        write_table(scores, root / "scores.parquet")
        write_json(root / "thresholds.json", dict.fromkeys(world.marketplace.markets, 0.5))
        write_manifest(root, "scores", {}, {}, markets=list(world.marketplace.markets))


def _pairs(log: Path, whole_queries: int) -> pa.Table:
    """Distinct (market, normalised query, item_id, title): candidates of each search request, and whole queries."""
    requests = pq.read_table(log / "requests.parquet").to_pandas().dropna(subset=["query"])
    owners = pq.read_table(log / "items.parquet", columns=["item_id", "market", "title"]).to_pandas()
    items = owners[["item_id", "title"]]
    pairs = requests.merge(pq.read_table(log / "candidates.parquet").to_pandas(), on="request_id").merge(items)
    queries = requests[["market", "query"]].drop_duplicates().sort_values(["market", "query"])
    whole = queries.groupby("market").head(whole_queries)
    pairs = pd.concat([pairs, whole.merge(owners, on="market")])
    pairs["query"] = pairs["query"].map(normalise_query)
    pairs = pairs[["market", "query", "item_id", "title"]].drop_duplicates(["market", "query", "item_id"])
    return pa.Table.from_pandas(pairs.sort_values(["market", "query", "item_id"]), preserve_index=False)


def _write_ranker(directory: Path, world: World) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        ranker = build_ranker(world.ranker)
        for parameter in ranker.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=world.weight_std)
    with atomic_directory(directory) as root:
        save_ranker(ranker, root)
        prior = {market: PRIOR.get(market, 0.35) for market in world.marketplace.markets}
        Blend((1.0, 0.7, 0.3), -0.2, prior).save(root / "blend.json")
        (root / "reports").mkdir()
        (root / "reports" / "ranking.html").write_text("<html>ranking</html>", encoding="utf-8")
        metrics = {"ranking": {"hhsft": {"auc": 0.5, "gauc": 0.5, "hr@5": 0.1, "ndcg@10": 0.2}}}
        write_manifest(root, "ranker", {}, {}, metrics)


def _write_empty(directory: Path, kind: str, name: str, content: dict[str, object]) -> None:
    with atomic_directory(directory) as root:
        write_json(root / name, content)
        write_manifest(root, kind, {}, {})
