"""The stage on a small learnable world: it learns, repeats itself, writes what it promises and refuses bad input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from ranking_world import MARKETS, random_features, write_world

from components.contracts.blend import Blend
from components.contracts.errors import BadInput
from components.contracts.features import FEATURES, assemble
from components.contracts.request_time import complete
from components.contracts.tools.manifest import input_digest, read_manifest
from components.contracts.training.config import TrainingConfig
from components.contracts.training_set import ALL_COLUMNS, TRAINING_SET, read_training_rows, stated_features
from components.ranking.config import RankingConfig, split_variant
from components.ranking.dataset import read_training_set
from components.ranking.fitting import DeviceFeatures, fit, predict
from components.ranking.model.serving import load_ranker
from components.ranking.train import train

CONFIG = RankingConfig.model_validate(
    {
        "epochs": 4,
        "batch_size": 128,
        "learning_rate": 4e-3,
        "bootstrap": 50,
        "model": {"embedding_dim": 4, "token_width": 16, "gfa_rank": 8, "gfa_width": 16, "expert_width": 16},
    }
)


def flat(training_set: Path) -> pd.DataFrame:
    """A row per candidate, with every feature."""
    rows = read_training_rows(training_set / TRAINING_SET)
    codes = stated_features(rows.requests, MARKETS, "test")
    table = rows.table(ALL_COLUMNS).to_pandas()
    stored = {name: table[name].to_numpy() for name in table}
    stored |= {name: values.to_numpy()[rows.request] for name, values in codes.items()}
    made = complete(stored, table["timestamp"].to_numpy("datetime64[s]").astype(np.int64))
    columns = {f.name: list(made[f.name]) if f.kind == "sequence" else made[f.name] for f in FEATURES}
    return pd.concat([table.drop(columns=list(columns), errors="ignore"), pd.DataFrame(columns)], axis=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def trained(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "ranker"
    train(*world, CONFIG, out)
    return out


def test_every_variant_learns_and_the_released_one_beats_chance_by_far(trained: Path) -> None:
    metrics = read_manifest(trained)["metrics"]
    assert set(metrics["ranking"]) == {*CONFIG.variants, "hhsft_es3+blend"}
    for figures in metrics["ranking"].values():
        assert 0 < figures["auc"] < 1
        assert set(figures) >= {"auc", "gauc", "hr@5", "ndcg@10", "interval", "difference", "calibration"}
    released = metrics["ranking"][metrics["released"]]
    assert released["auc"] > 0.7
    assert released["interval"]["auc"][0] > 0.65
    assert metrics["ranking"]["dlrm_exposed"]["difference"]["auc"] == [0, 0, 0]
    assert set(metrics["markets"]) == set(MARKETS)
    for figures in metrics["markets"].values():
        low, high = figures["calibration_interval"]
        assert low <= figures["calibration"] <= high
        assert 0 < figures["requests"] <= figures["exposures"]


def test_training_decreases_the_loss(world: tuple[Path, Path]) -> None:
    data = read_training_set(world[0], MARKETS)
    features = DeviceFeatures.put(data, torch.device("cpu"))
    fitted = fit("hhsft_es3", data, features, CONFIG)
    losses = [point["loss"] for point in fitted.curve]
    assert losses[-1] < 0.9 * losses[0]
    best = max(fitted.curve, key=lambda point: point["valid_auc"])
    assert fitted.best_epoch == best["epoch"]


def test_the_oracle_is_reported_apart_and_as_simulated(trained: Path) -> None:
    manifest = read_manifest(trained)
    oracle = manifest["metrics"]["oracle"]
    assert manifest["simulated"] is True
    assert oracle["simulated_only"] is True
    assert oracle["hhsft_es3"]["agreement"] > 0.65
    native = manifest["metrics"]["ranking"]["hhsft_es3"]["auc"]
    assert oracle["hhsft_es3"]["expected_auc"] == pytest.approx(native, abs=0.05), "the same, less one draw's noise"


def test_a_log_that_is_not_simulated_has_no_oracle_figures(world: tuple[Path, Path], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    manifest = read_manifest(world[1]) | {"simulated": False}
    (log / "manifest.json").write_text(json.dumps(manifest))
    quick = CONFIG.model_copy(update={"epochs": 1, "variants": ("dlrm_exposed",), "released": "dlrm_exposed"})
    train(world[0], log, quick, tmp_path / "ranker")
    assert read_manifest(tmp_path / "ranker")["metrics"]["oracle"] is None
    assert "Simulated" not in (tmp_path / "ranker" / "reports" / "ranking.html").read_text()[-200_000:]


def test_predictions_are_those_of_the_saved_model_and_blend(world: tuple[Path, Path], trained: Path) -> None:
    predictions = pq.read_table(trained / "predictions.parquet").to_pandas().set_index(["request_id", "item_id"])
    assert list(predictions) == ["market", "timestamp", "split", "p_click", "p_purchase", "score", "native_click"]
    exposed = flat(world[0]).query("exposed == 1")
    assert list(predictions.index) == list(zip(exposed["request_id"], exposed["item_id"], strict=True))

    features = assemble({f.name: exposed[f.name].to_numpy() for f in FEATURES})
    with torch.inference_mode():
        p_click, p_purchase = load_ranker(trained)(
            *(torch.from_numpy(x) for x in (features.numeric, features.categorical, features.sequences))
        )
    np.testing.assert_allclose(predictions["p_click"], p_click, atol=1e-5)
    np.testing.assert_allclose(predictions["p_purchase"], p_purchase, atol=1e-5)
    blend = Blend.load(trained / "blend.json")
    relevance = exposed["relevance"].fillna(exposed["market"].map(blend.relevance_prior)).to_numpy()
    np.testing.assert_allclose(predictions["score"], blend.score(relevance, p_click, p_purchase), atol=1e-5)
    assert min(blend.weights) >= 0


def test_the_directory_is_whole_and_says_what_made_it(world: tuple[Path, Path], trained: Path) -> None:
    found = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}
    assert found == {
        "blend.json",
        "manifest.json",
        "predictions.parquet",
        "ranker.json",
        "ranker.safetensors",
        "reports/ranking.html",
    }
    manifest = read_manifest(trained)
    assert manifest["kind"] == "ranker"
    assert manifest["inputs"] == {"training_set": input_digest(world[0]), "log": input_digest(world[1])}
    assert RankingConfig.model_validate(manifest["config"]) == CONFIG
    roc = manifest["metrics"]["roc"]
    assert len(roc["fpr"]) == len(roc["tpr"]) == len(roc["threshold"])
    page = (trained / "reports" / "ranking.html").read_text()
    for heading in ("Variants", "Training", "ROC", "Calibration", "Markets", "Blend", "Ground truth"):
        assert f"<h2>{heading}</h2>" in page
    assert "Simulated data." in page


def test_the_component_passes_on_metrics_curve_and_report(world: tuple[Path, Path], tmp_path: Path) -> None:
    from kfp import dsl

    from components.ranking.component import train_ranker

    quick = CONFIG.model_copy(update={"epochs": 1, "variants": ("dlrm_exposed",), "released": "dlrm_exposed"})
    artifacts = {
        "model": dsl.Model(uri=str(tmp_path / "model")),
        "metrics": dsl.Metrics(uri=str(tmp_path / "metrics")),
        "roc": dsl.ClassificationMetrics(uri=str(tmp_path / "roc")),
        "report": dsl.HTML(uri=str(tmp_path / "report.html")),
    }
    train_ranker.python_func(
        training_set=dsl.Dataset(uri=str(world[0])),
        log=dsl.Dataset(uri=str(world[1])),
        config=quick.structure,
        training=TrainingConfig().structure,
        **artifacts,
    )
    released = read_manifest(tmp_path / "model")["metrics"]["ranking"]["dlrm_exposed"]
    assert artifacts["metrics"].metadata["auc"] == released["auc"]
    said = artifacts["model"].metadata
    assert said["figures"]["auc"] == released["auc"]
    assert said["intervals"]["auc"] == released["interval"]["auc"]
    assert said["inputs"]["training_set"] == read_manifest(world[0])["digest"]
    assert artifacts["roc"].metadata["confidenceMetrics"][0]["recall"] == 0
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("variant", CONFIG.variants)
def test_two_fits_with_one_seed_are_equal_to_the_bit(world: tuple[Path, Path], variant: str) -> None:
    data = read_training_set(world[0], MARKETS)
    features = DeviceFeatures.put(data, torch.device("cpu"))
    quick = CONFIG.model_copy(update={"epochs": 2})
    first, again = (fit(variant, data, features, quick) for _ in range(2))
    for (name, weight), (_, same) in zip(
        first.ranker.state_dict().items(), again.ranker.state_dict().items(), strict=True
    ):
        assert torch.equal(weight, same), name
    assert first.curve == again.curve
    rows = data.rows("test", "exposed")
    assert np.array_equal(predict(first.ranker, features, rows), predict(again.ranker, features, rows))


def test_another_seed_gives_another_model(world: tuple[Path, Path]) -> None:
    data = read_training_set(world[0], MARKETS)
    features = DeviceFeatures.put(data, torch.device("cpu"))
    quick = CONFIG.model_copy(update={"epochs": 1})
    rows = data.rows("test", "exposed")
    first, other = (
        predict(fit("hhsft_es3", data, features, quick.model_copy(update={"seed": seed})).ranker, features, rows)
        for seed in (5, 6)
    )
    assert not np.allclose(first, other, atol=1e-3)


def test_exposed_variants_see_native_exposures_with_native_labels(world: tuple[Path, Path]) -> None:
    data = read_training_set(world[0], MARKETS)
    table = flat(world[0])
    rows = data.rows("train", "exposed")
    chosen = table.iloc[rows]
    assert set(chosen["domain"]) == {"search"}
    assert set(chosen["exposed"]) == {1}
    assert set(chosen["split"]) == {"train"}
    assert np.array_equal(data.labels("exposed")[rows], chosen[["native_click", "native_purchase"]])
    entire = data.rows("train", "es3")
    assert np.array_equal(data.labels("es3")[entire], table.iloc[entire][["click", "purchase"]])
    assert len(entire) == (table["split"] == "train").sum()


def test_sequences_are_read_as_the_contract_assembles_them(world: tuple[Path, Path], tmp_path: Path) -> None:
    table = pq.read_table(world[0] / TRAINING_SET).slice(3, 90)
    lists = pa.array([None, [], *[list(range(1, 1 + i % 30)) for i in range(88)]], pa.list_(pa.int32()))
    table = _replace(table, "clicked_items", lists)
    (tmp_path / "training_set").mkdir()
    pq.write_table(table, tmp_path / "training_set" / TRAINING_SET, row_group_size=25)
    data = read_training_set(tmp_path / "training_set", MARKETS)
    rows = flat(tmp_path / "training_set")
    expected = assemble({f.name: rows[f.name].to_numpy() for f in FEATURES})
    np.testing.assert_array_equal(data.features.sequences[data.sequence], expected.sequences)
    np.testing.assert_array_equal(data.features.categorical, expected.categorical)
    np.testing.assert_array_equal(data.features.numeric, expected.numeric)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["relevance"]), "missing column relevance"),
        (lambda t: t.drop_columns(["split"]), "missing column split"),
        (lambda t: t.filter(pc.field("split") != "valid"), "split valid needs native search exposures"),
        (lambda t: _all(t, "native_click", 0), "0 of [0-9]+ have one"),
        (lambda t: _all(t, "price_log", np.inf), "price_log: infinite"),
        (lambda t: _all(t, "exposed", 2), "column exposed: above 1"),
        (lambda t: _replace(t, "market", pa.array(["XX"] * t.num_rows)), "market"),
    ],
)
def test_bad_training_sets_are_refused_and_nothing_is_written(world, tmp_path: Path, change, message: str) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    pq.write_table(change(pq.read_table(world[0] / TRAINING_SET)), broken / TRAINING_SET)
    with pytest.raises(BadInput, match=message):
        train(broken, world[1], CONFIG, tmp_path / "ranker")
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]


def _replace(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def _all(table: pa.Table, name: str, value: float) -> pa.Table:
    """The table with one value for all candidates."""
    lists = table[name].combine_chunks()
    same = pa.repeat(pa.scalar(value, lists.type.value_type), len(lists.values))
    return _replace(table, name, pa.ListArray.from_arrays(lists.offsets, same))


def test_configurations_refuse_what_cannot_be_trained() -> None:
    assert split_variant("hhfi_es3") == ("hhfi", "es3")
    for bad in (
        {"variants": ("hhsft_everything",)},
        {"variants": ("dlrm_exposed",)},
        {"released": "hhsft_es4"},
        {"domain_weights": {"search": 1.0}},
        {"model": {"token_with": 8}},
        {"epoch": 3},
    ):
        with pytest.raises(ValidationError):
            RankingConfig.model_validate(bad)
    assert RankingConfig.model_validate_json(CONFIG.model_dump_json()) == CONFIG


def test_random_features_have_the_contracts_shape() -> None:
    features = random_features(3)
    assert features.numeric.shape[1] + features.categorical.shape[1] + features.sequences.shape[1] == len(FEATURES)
