"""The stage from log to model, with tiny experts: contracts of its outputs, determinism and refusals."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel

from components.contracts.errors import BadInput
from components.contracts.schemas import QUERY_VECTORS, RELEVANCE_SCORES, TITLE_VECTORS
from components.contracts.tables import Limits, read_table
from components.contracts.tools.manifest import read_manifest, tree_digest
from components.relevance.config import MIXTURE, ExpertConfig, VariantConfig
from components.relevance.encode import encode
from components.relevance.experts.weights import expert_spec, prepare_expert
from components.relevance.fitting.crossfit import cross_fit
from components.relevance.fitting.networks import build_routed, build_single
from components.relevance.fitting.pseudo_labels import pseudo_labels
from components.relevance.judgments.judged import load_judged
from components.relevance.model.mixture import load_mixture
from components.relevance.model.spec import TuningSpec, load_experts
from components.relevance.score import score_pairs
from components.relevance.scoring.reference import ReferenceScorer
from components.relevance.train import mixture_spec, train
from tests.relevance.relevance_world import MARKETS, Trained, judgments, tiny_config, write_judgments

VARIANTS = {
    *("mixture", "weighted_average", "experts_alone", "best_single", "tfidf"),
    *("tiny-gemma", "tiny-bert", "tiny-qwen"),
}
EVERY_VARIANT = (
    MIXTURE,
    VariantConfig(name="mean", fusion="weighted_average"),
    VariantConfig(name="gated", fusion="gated_sum"),
    VariantConfig(name="logits", fusion="logit_average"),
    VariantConfig(name="rule", router="rule"),
    VariantConfig(name="pseudo", router="pseudo_label"),
    VariantConfig(name="soft", router="soft"),
    VariantConfig(name="one", top_k=1),
    VariantConfig(name="all", top_k=3),
)
DENSE = ExpertConfig(name="dense", source="tiny:qwen3", layer=1)


def test_encodings_keep_their_contract(trained: Trained) -> None:
    pairs = pd.read_parquet(trained.encodings / "pairs.parquet")
    assert not pairs.duplicated(["market", "query", "item_id"]).any()
    specs = load_experts(trained.experts)
    for spec in specs:
        vectors = np.load(trained.encodings / f"{spec.name}.npy")
        assert vectors.shape == (len(pairs), spec.dim) and vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
    assert [spec.dim for spec in specs] == [3 * 40, 32, 48]
    for name, schema in (("title_vectors", TITLE_VECTORS), ("query_vectors", QUERY_VECTORS)):
        table = read_table(trained.encodings / f"{name}.parquet", schema, Limits(markets=MARKETS))
        norms = np.linalg.norm(np.stack(table["vector"].to_pylist()), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-5)


def test_experts_pass_their_licences_on(trained: Trained) -> None:
    specs = json.loads((trained.experts / "experts.json").read_text())
    assert [spec["name"] for spec in specs] == ["tiny-gemma", "tiny-bert", "tiny-qwen"]
    assert all(spec["licence"] and spec["digest"] for spec in specs)
    assert [spec["layer"] for spec in specs] == [1, 2, 2]
    for spec in specs:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            assert (trained.experts / spec["name"] / name).is_file()


def test_model_states_every_figure(trained: Trained) -> None:
    metrics = read_manifest(trained.model)["metrics"]
    assert set(metrics["relevance"]) == VARIANTS
    for row in metrics["relevance"].values():
        for name in (*MARKETS, "macro", "pooled"):
            low, high = row["interval"][name]
            assert 0 <= low <= row[name] <= high <= 1
    assert set(metrics["deltas"]) == VARIANTS - {"mixture"}
    for variant, row in metrics["deltas"].items():
        assert set(row) == {*MARKETS, "macro", "pooled"}, "gains are known in every market"
        for name, gain in row.items():
            low, high = gain["interval"]
            assert low <= gain["mixture_minus"] <= high
            mixture, other = (metrics["relevance"][each][name] for each in ("mixture", variant))
            assert gain["mixture_minus"] == pytest.approx(mixture - other)
    assert sum(metrics["relevant"].values()) == metrics["judged"]["positives"]
    assert set(metrics["thresholds"]) == set(MARKETS)
    assert all(0 <= theta <= 1 for theta in metrics["thresholds"].values())
    for row in metrics["routing"].values():
        assert sum(row.values()) == pytest.approx(2)
    assert metrics["calibration_error"] < 0.15
    page = (trained.model / "reports" / "relevance.html").read_text()
    assert "Simulated judgments" in page and "ROC curves" in page


def test_tfidf_finds_the_word_match(trained: Trained) -> None:
    """The toy's relevance is a shared word: a baseline that cannot see it is broken."""
    assert read_manifest(trained.model)["metrics"]["relevance"]["tfidf"]["pooled"] > 0.8


def test_experts_that_know_nothing_do_not_spoil_what_words_tell(trained: Trained) -> None:
    metrics = read_manifest(trained.model)["metrics"]
    pooled = {name: row["pooled"] for name, row in metrics["relevance"].items()}
    assert pooled["mixture"] > pooled["experts_alone"] + 0.05
    assert pooled["mixture"] > pooled["tfidf"] - 0.03
    assert metrics["lexical_share"] > 0.5
    assert load_mixture(trained.model).fusion.calibration[1] > 0, "it has a say in what is released"


def test_a_mixture_without_a_lexical_expert(trained: Trained, tmp_path: Path) -> None:
    config = trained.config.model_copy(update={"lexical": False})
    train(trained.log, trained.encodings, trained.experts, config, tmp_path / "model")
    metrics, full = read_manifest(tmp_path / "model")["metrics"], read_manifest(trained.model)["metrics"]
    assert metrics["lexical_share"] is None and set(metrics["relevance"]) == VARIANTS - {"experts_alone"}
    assert metrics["relevance"]["mixture"] == full["relevance"]["experts_alone"]
    mixture = load_mixture(tmp_path / "model")
    assert mixture.fusion.calibration[1] == 0 and not mixture.lexical.logits(["tas"], ["tas"]).any()


def test_scores_keep_their_contract(trained: Trained) -> None:
    table = read_table(trained.scores / "scores.parquet", RELEVANCE_SCORES, Limits(markets=MARKETS))
    pairs = pd.read_parquet(trained.encodings / "pairs.parquet")
    assert table["item_id"].to_pylist() == pairs["item_id"].tolist()
    experts = np.stack(table["experts"].to_pylist())
    assert experts.shape == (len(pairs), 2) and (experts[:, 0] != experts[:, 1]).all()
    frame = pd.DataFrame({"query": pairs["query"], "market": pairs["market"], "experts": [tuple(e) for e in experts]})
    assert (frame.groupby(["market", "query"])["experts"].nunique() == 1).all(), "a query has one set of experts"
    assert set(json.loads((trained.scores / "thresholds.json").read_text())) == set(MARKETS)


def test_training_repeats(trained: Trained, tmp_path: Path) -> None:
    train(trained.log, trained.encodings, trained.experts, trained.config, tmp_path / "again")
    assert tree_digest(tmp_path / "again", exclude=("manifest.json", "relevance.html")) == tree_digest(
        trained.model, exclude=("manifest.json", "relevance.html")
    )
    ours, theirs = read_manifest(tmp_path / "again"), read_manifest(trained.model)
    assert ours["metrics"] == theirs["metrics"]


def test_encoding_with_a_full_cache_gives_the_same(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(trained.log.parent / "cache"))
    monkeypatch.setattr("components.relevance.encoding.padded.TextEncoder.encode", None)  # nothing may be computed
    encode(trained.log, trained.config, tmp_path / "encodings", tmp_path / "experts")
    for path in sorted(trained.encodings.glob("*.npy")):
        np.testing.assert_array_equal(np.load(path), np.load(tmp_path / "encodings" / path.name))


def test_out_of_fold_predictions_do_not_see_their_fold(trained: Trained) -> None:
    """Turning round the labels of one fold may not change that fold's predictions.

    A blend of two such predictions has one share, which comes from the other folds: test_blend.
    """
    specs = load_experts(trained.experts)
    config = tiny_config(epochs=2)
    data = load_judged(trained.log, trained.encodings, specs, config)
    spec = mixture_spec(data, specs, config)
    crossed = cross_fit(data, spec, config)
    test = crossed.fold == 0
    data.label[torch.from_numpy(test)] = 1 - data.label[torch.from_numpy(test)]
    turned = cross_fit(data, spec, config)
    for variant in VARIANTS - {"mixture", "weighted_average"}:
        np.testing.assert_allclose(crossed.logits[variant][0, test], turned.logits[variant][0, test], atol=1e-6)
        assert not np.allclose(crossed.logits[variant][0, ~test], turned.logits[variant][0, ~test])


def test_worker_processes_find_what_one_process_finds(trained: Trained) -> None:
    specs = load_experts(trained.experts)
    config = tiny_config(epochs=2, seeds=2, variants=EVERY_VARIANT)
    load = partial(load_judged, trained.log, trained.encodings, specs, config)
    data = load()
    spec = mixture_spec(data, specs, config)
    alone = cross_fit(data, spec, config)
    shared = cross_fit(data, spec, config.model_copy(update={"fit_processes": 3}), load)
    assert alone.best_single == shared.best_single and alone.logits.keys() == shared.logits.keys()
    for name, logits_Sn in alone.logits.items():
        np.testing.assert_allclose(logits_Sn, shared.logits[name], atol=1e-4, err_msg=name)
    for name, mask_SnN in alone.masks.items():
        np.testing.assert_allclose(mask_SnN, shared.masks[name], atol=1e-4, err_msg=name)
    assert [history.best for history in alone.histories] == [history.best for history in shared.histories]
    for name, network in alone.networks.items():
        state = shared.networks[name].state_dict()
        assert not shared.networks[name].training
        for key, value in network.state_dict().items():
            torch.testing.assert_close(state[key], value, atol=1e-4, rtol=1e-4)


def test_networks_of_one_seed_are_equal(trained: Trained) -> None:
    spec = load_mixture(trained.model).spec
    for make in (partial(build_routed, EVERY_VARIANT[0], spec), partial(build_single, spec, 1)):
        first, second = (make(seed=5).state_dict() for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def compared(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Every variant and a dense baseline, two seeds; the rule router is released."""
    root = tmp_path_factory.mktemp("compared")
    config = tiny_config(
        variants=(MIXTURE.model_copy(update={"router": "rule"}), *EVERY_VARIANT[1:]), dense=DENSE, seeds=2, epochs=2
    )
    made = replace(trained, config=config, encodings=root / "encodings", experts=root / "experts", model=root / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIPELAGO_CACHE", str(root / "cache"))
        encode(made.log, config, made.encodings, made.experts)
    train(made.log, made.encodings, made.experts, config, made.model)
    return made


def test_every_variant_has_figures_over_all_seeds(compared: Trained) -> None:
    metrics = read_manifest(compared.model)["metrics"]
    variants = {variant.name for variant in EVERY_VARIANT}
    rows = variants | {"dense", "experts_alone", "best_single", "tfidf", "tiny-gemma", "tiny-bert", "tiny-qwen"}
    assert set(metrics["relevance"]) == set(metrics["quality"]) == set(metrics["seeds"]) == rows
    for name, seeds in metrics["seeds"].items():
        assert len(seeds) == 2
        assert metrics["relevance"][name]["pooled"] == pytest.approx(np.mean(seeds))
    assert metrics["seeds"]["mixture"][0] != metrics["seeds"]["mixture"][1]
    assert set(metrics["balance"]) == variants | {"released"}
    heads = metrics["head_parameters"]
    assert set(heads) == variants | {"dense", "tiny-gemma", "tiny-bert", "tiny-qwen"}
    assert max(heads.values()) < 1.1 * min(heads.values()), "tiny heads match less closely than real ones"
    assert {"tiny-gemma", "tiny-gemma (normed)", "mixture", "mean", "gated", "soft"} <= set(metrics["spaces"]["spaces"])
    assert "logits" not in metrics["spaces"]["spaces"] and len(metrics["spaces"]["pairs"]) == 3
    page = (compared.model / "reports" / "relevance.html").read_text()
    assert "means over 2 seeds" in page and "Procrustes" in page


def test_active_parameters_count_what_runs(compared: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path))
    counted = read_manifest(compared.model)["metrics"]["active_parameters"]
    specs = load_experts(compared.experts)
    folders = {spec.name: compared.experts / spec.name for spec in specs} | {"dense": prepare_expert(DENSE)}
    for spec in (*specs, expert_spec(DENSE)):
        trunk = AutoModel.from_pretrained(folders[spec.name])
        tables = sum(p.numel() for m in trunk.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters())
        pooler = sum(p.numel() for name, p in trunk.named_parameters() if name.startswith("pooler."))
        assert counted[spec.name] == spec.parameters
        assert spec.parameters == sum(p.numel() for p in trunk.parameters()) - tables - pooler
    assert counted["all"] == counted["soft"] == sum(spec.parameters for spec in specs)
    assert min(spec.parameters for spec in specs) <= counted["one"] <= max(spec.parameters for spec in specs)


def test_a_dense_baseline_is_no_expert(compared: Trained) -> None:
    assert not (compared.experts / "dense").exists()
    assert load_mixture(compared.model).spec.experts == ("tiny-gemma", "tiny-bert", "tiny-qwen")
    assert read_manifest(compared.encodings)["dense"]["layer"] == 1


def test_the_released_router_is_the_first_variants(compared: Trained) -> None:
    mixture = load_mixture(compared.model)
    assert mixture.spec.router.kind == "rule"
    assert mixture.router.preference.abs().sum() > 0


def test_pseudo_labels_name_the_expert_that_judges_a_query_best(trained: Trained) -> None:
    """An expert whose vector is the label itself must win every query."""
    config = tiny_config(epochs=40, patience=40, learning_rate=0.01)
    specs = load_experts(trained.experts)
    data = load_judged(trained.log, trained.encodings, specs, config)
    random = torch.Generator().manual_seed(0)
    dim = data.vectors[1].shape[1]
    sign = 1 - 2 * torch.randint(2, (dim,), generator=random)
    telling = torch.randn(len(data), dim, generator=random) * 0.1 + sign * (data.label[:, None] - 0.5)
    data = replace(data, vectors=(data.vectors[0] * 0, telling, data.vectors[2] * 0))
    spec = mixture_spec(data, specs, config)
    found = pseudo_labels(data, spec, np.arange(len(data)), config, seed=0)
    assert (found == 1).mean() > 0.95


def test_steps_must_divide_among_processes() -> None:
    tuned = ExpertConfig(name="tuned", source="tiny:bert", tuning=TuningSpec(batch_rows=9))
    with pytest.raises(BadInput, match="expert tuned: 9 batch_rows do not divide among 2 processes"):
        tiny_config(experts=(tuned, DENSE)).require_even_steps(2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"variants": (EVERY_VARIANT[1],)}, "the first variant is the released one"),
        ({"variants": (MIXTURE, MIXTURE)}, "share names: mixture"),
        ({"variants": (MIXTURE, VariantConfig(name="tfidf"))}, "share names: tfidf"),
        ({"variants": (MIXTURE, VariantConfig(name="wide", top_k=4))}, "top_k is 4, with 3 experts"),
        ({"variants": (MIXTURE, {"name": "soft", "router": "soft", "fusion": "gated_sum"})}, "soft routing goes with"),
    ],
)
def test_variants_that_make_no_sense_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tiny_config(**changes)


def with_judgments(trained: Trained, frame: pd.DataFrame, root: Path) -> Path:
    return write_judgments(root / "log", frame)


def test_judgments_of_one_class_are_refused(trained: Trained, tmp_path: Path) -> None:
    log = with_judgments(trained, judgments().assign(grade=1.0), tmp_path)
    with pytest.raises(BadInput, match=r"column grade: 240 of 240 pairs reach 0\.5"):
        train(log, trained.encodings, trained.experts, trained.config, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_too_few_queries_are_refused(trained: Trained, tmp_path: Path) -> None:
    log = with_judgments(trained, judgments().head(3), tmp_path)
    with pytest.raises(BadInput, match="3 queries are too few for 2 folds"):
        train(log, trained.encodings, trained.experts, trained.config, tmp_path / "model")


def test_pairs_without_encodings_are_refused(trained: Trained, tmp_path: Path) -> None:
    log = with_judgments(trained, judgments(rows=300), tmp_path)
    with pytest.raises(BadInput, match="of 300 judged pairs are not encoded"):
        train(log, trained.encodings, trained.experts, trained.config, tmp_path / "model")


def test_a_log_without_judgments_is_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no file judgments\.parquet"):
        encode(tmp_path, trained.config, tmp_path / "encodings", tmp_path / "experts")


def test_a_market_of_one_class_is_null_and_trains(trained: Trained, tmp_path: Path) -> None:
    frame = judgments()
    frame.loc[frame["market"] == "VN", "grade"] = 1.0
    log = with_judgments(trained, frame, tmp_path)
    train(log, trained.encodings, trained.experts, tiny_config(epochs=1), tmp_path / "model")
    row = read_manifest(tmp_path / "model")["metrics"]["relevance"]["mixture"]
    assert row["VN"] is None and row["interval"]["VN"] is None
    assert row["macro"] == pytest.approx((row["ID"] + row["TH"]) / 2)


def test_scoring_refuses_other_experts(trained: Trained, tmp_path: Path) -> None:
    lacking = tmp_path / "encodings"
    lacking.mkdir()
    for path in trained.encodings.iterdir():
        if path.name != "tiny-qwen.npy":
            (lacking / path.name).symlink_to(path)
    with pytest.raises(BadInput, match="no vectors of the model's expert tiny-qwen"):
        score_pairs(lacking, trained.model, tmp_path / "scores")


def test_scorer_equals_stored_scores_in_any_batch(trained: Trained) -> None:
    stored = pd.read_parquet(trained.scores / "scores.parquet")
    pairs = pd.read_parquet(trained.encodings / "pairs.parquet")
    scorer = ReferenceScorer.load(trained.model, trained.experts)
    columns = [pairs[name].tolist() for name in ("market", "query", "title")]
    relevance, experts = scorer.score(*columns)
    np.testing.assert_allclose(relevance, stored["relevance"], atol=1e-5)
    np.testing.assert_array_equal(experts, np.stack(stored["experts"].to_list()))
    some = np.random.default_rng(0).permutation(len(pairs))[:7]
    mixed, _ = scorer.score(*([column[row] for row in some] for column in columns))
    np.testing.assert_allclose(mixed, relevance[some], atol=1e-5)
    for row in some[:3]:
        alone, _ = scorer.score(*([column[row]] for column in columns))
        np.testing.assert_allclose(alone, relevance[row], atol=1e-5)


def test_scorer_takes_raw_text(trained: Trained) -> None:
    scorer = ReferenceScorer.load(trained.model, trained.experts)
    neat, _ = scorer.score(["ID"], ["sepatu merah"], ["Sepatu Wanita"])
    raw, _ = scorer.score(["ID"], ["  SEPATU\tMerah "], ["Sepatu  Wanita\n"])
    assert neat == raw
    empty, experts = scorer.score([], [], [])
    assert empty.shape == (0,) and experts.shape == (0, 2)
    with pytest.raises(BadInput, match="not one of ID, TH, VN"):
        scorer.score(["XX"], ["a"], ["b"])
    with pytest.raises(BadInput, match="lengths differ"):
        scorer.score(["ID"], ["a", "b"], ["c"])
    long, _ = scorer.score(["TH"], ["ก" * 10_000], [""])
    assert np.isfinite(long).all()
