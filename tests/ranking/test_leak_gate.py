"""Pseudo rows that give their labels away: what is measured, what is refused, and what stands in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from ranking_world import MARKETS, write_world

from components.contracts.features import RELEVANCE_COLUMN
from components.contracts.tools.manifest import read_manifest, write_manifest
from components.contracts.training_set import ALL_COLUMNS, TRAINING_SET, read_training_rows
from components.ranking.config import RankingConfig
from components.ranking.dataset import TrainingSet, read_training_set
from components.ranking.leak import measure_leak, on_exposed_rows
from components.ranking.train import train
from tests.training_rows import write_rows

CONFIG = RankingConfig(
    variants=("dlrm_exposed", "dlrm_es3"),
    released="dlrm_es3",
    epochs=1,
    bootstrap=0,
    relevance_auc_tolerance=0.1,  # of 600 requests
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def data(world: tuple[Path, Path]) -> TrainingSet:
    return read_training_set(world[0], MARKETS)


def with_relevance(data: TrainingSet, change: str) -> TrainingSet:
    """The same with other relevance on pseudo rows of one kind of label, or of both."""
    numeric = data.features.numeric.copy()
    relevance = numeric[:, RELEVANCE_COLUMN]
    pseudo, clicked = data.domain != 0, data.entire[:, 0] == 1
    if change == "positives alone are scored":
        relevance[pseudo & ~clicked] = np.nan
    elif change == "positives are relevant":
        relevance[pseudo] = np.where(clicked, 0.8, 0.2)[pseudo]
    elif change == "relevance says nothing":
        relevance[pseudo] = 0.5
    return replace(data, features=replace(data.features, numeric=numeric))


def test_rows_like_shown_ones_are_kept(data: TrainingSet) -> None:
    leak = measure_leak(data, CONFIG)
    assert leak.scored is not None and leak.scored == pytest.approx(0.5, abs=0.02)
    assert leak.relevance is not None and leak.native is not None
    assert leak.relevance == pytest.approx(leak.native, abs=0.1)
    assert leak.native > 0.6
    assert leak.reasons == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("positives alone are scored", "having a relevance score tells the label of pseudo rows: AUC 0.97"),
        ("positives are relevant", "relevance tells the label of pseudo rows with AUC 1"),
        ("relevance says nothing", "relevance tells the label of pseudo rows with AUC 0.5"),
    ],
)
def test_what_gives_labels_away_is_refused(data: TrainingSet, change: str, reason: str) -> None:
    (said,) = measure_leak(with_relevance(data, change), CONFIG).reasons
    assert said.startswith(reason)


def test_a_training_set_without_pseudo_rows_leaks_nothing(data: TrainingSet) -> None:
    leak = measure_leak(replace(data, domain=np.zeros_like(data.domain)), CONFIG)
    assert (leak.scored, leak.relevance, leak.reasons) == (None, None, ())


@pytest.mark.parametrize(
    ("variants", "released", "baseline", "left"),
    [
        (("dlrm_exposed", "hhsft_exposed", "hhfi_es3", "hhsft_es3"), "hhsft_es3", "dlrm_exposed", 2),
        (("dlrm_exposed", "hhsft_es3"), "hhsft_es3", "dlrm_exposed", 2),
        (("hhfi_es3", "hhsft_es3"), "hhsft_es3", "hhfi_es3", 2),
    ],
)
def test_rankers_on_exposed_rows_stand_in(variants, released: str, baseline: str, left: int) -> None:
    config = on_exposed_rows(RankingConfig(variants=variants, released=released, baseline=baseline))
    assert config.released == "hhsft_exposed"
    assert {config.released, config.baseline} <= set(config.variants)
    assert len(config.variants) == left and all(name.endswith("_exposed") for name in config.variants)


def test_a_refused_training_releases_the_ranker_on_exposed_rows_and_says_why(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    table = read_training_rows(world[0] / TRAINING_SET).table(ALL_COLUMNS)
    relevance = table["relevance"].to_numpy().copy()
    pseudo = np.asarray(table["domain"].to_pylist()) != "search"
    relevance[pseudo & (table["click"].to_numpy() == 0)] = np.nan
    leaking = table.set_column(table.column_names.index("relevance"), "relevance", pa.array(relevance))
    for name, written in (("kept", table), ("refused", leaking)):
        write_rows(written, tmp_path / name / TRAINING_SET)
        write_manifest(tmp_path / name, "training_set", config={}, inputs={})
        train(tmp_path / name, world[1], CONFIG, tmp_path / f"{name}-ranker")
    kept, refused = (read_manifest(tmp_path / f"{name}-ranker")["metrics"] for name in ("kept", "refused"))
    assert (kept["released"], kept["leak"]["reasons"]) == ("dlrm_es3", [])
    assert refused["released"] == "dlrm_exposed" and set(refused["fits"]) == {"dlrm_exposed"}
    (reason,) = refused["leak"]["reasons"]
    page = (tmp_path / "refused-ranker" / "reports" / "ranking.html").read_text(encoding="utf-8")
    assert f"Refused, so that dlrm_exposed was released: {reason}." in page
