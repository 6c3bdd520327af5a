"""A release: what it holds, its name, and what happens when it must not be built."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import metadata_load

from components.contracts.blend import Blend
from components.contracts.errors import BadInput, GateRefused
from components.contracts.features import VIEWS, feature_schema
from components.contracts.releases import PROFILE, file_digests, release_digest
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import read_manifest
from components.release.build import build_release
from components.release.export import ParityError, Signature, check_parity, export_onnx
from components.release.golden import UNKNOWN_USER
from components.release.summary import card_text
from tests.release.tiny_release import AS_OF, CONFIG, MARKETS, PRIOR, Tiny, write_verdict

pytestmark = pytest.mark.slow


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_search_release_holds_everything_that_is_served(tiny: Tiny) -> None:
    found = files(tiny.search)
    experts = [expert["name"] for expert in read_manifest(tiny.search)["experts"]]
    assert {f"triton/{m}/config.pbtxt" for m in ("router", "fusion", "ranker", "relevance", "search")} <= found
    assert {f"triton/expert_{name}/1/model.onnx" for name in experts} <= found
    weights = ("config.json", "model.safetensors", "tokenizer.json")
    assert {f"triton/relevance/1/experts/{name}/{file}" for name in experts for file in weights} <= found
    assert sum(name.endswith("tokenizer.json") for name in found) == len(experts)
    assert {f"features/{view}.parquet" for view in VIEWS} <= found
    assert {"catalogue.parquet", "blend.json", "golden/search.parquet", "golden/relevance.parquet"} <= found
    assert {"MODEL_CARD.md", "DATA_CARD.md", "reports/ranking.html", f"reports/{PROFILE}", "manifest.json"} <= found
    assert {name for name in experts if (tiny.search / "licenses" / name).is_dir()} == set(experts)


def test_a_relevance_only_release_holds_no_ranking(tiny: Tiny) -> None:
    found = files(tiny.relevance_only)
    assert "triton/relevance/1/model.py" in found
    assert not {name for name in found if name.startswith(("triton/search", "triton/ranker", "features/", "blend"))}
    assert read_manifest(tiny.relevance_only)["kind"] == "relevance-release"


def test_copied_sources_are_the_ground_floors(tiny: Tiny) -> None:
    root = Path(__file__).resolve().parents[2]
    for copy, source in (
        ("triton/relevance/1/components/contracts/text.py", "components/contracts/text.py"),
        ("triton/relevance/1/pipeline.py", "serving/triton/models/relevance/pipeline.py"),
        ("triton/expert_qwen/1/packed.py", "serving/triton/models/expert/packed.py"),
        ("triton/search/1/blend.py", "components/contracts/blend.py"),
        ("triton/search/1/model.py", "serving/triton/models/search/model.py"),
    ):
        assert (tiny.search / copy).read_bytes() == (root / source).read_bytes()


def test_the_manifest_says_what_and_from_what(tiny: Tiny) -> None:
    manifest = read_manifest(tiny.search)
    assert manifest["kind"] == "search-release"
    assert manifest["markets"] == list(MARKETS)
    assert manifest["k"] == 2
    assert manifest["feature_schema"] == feature_schema()
    assert manifest["simulated"] is True
    assert set(manifest["inputs"]) >= {"log", "experts", "relevance_model", "scores", "features", "ranker", "verdict"}
    parity = manifest["metrics"]["parity"]
    assert {p["model"] for p in parity} == {
        "router", "fusion", "ranker", "expert_bert-one", "expert_bert-two", "expert_qwen",
    }  # fmt: skip
    assert all(0 <= p["max_error"] <= p["tolerance"] for p in parity)


def test_the_name_is_the_digest_of_the_content(tiny: Tiny, tmp_path: Path) -> None:
    assert (
        tiny.search.name == read_manifest(tiny.search)["digest"][:12] == release_digest(file_digests(tiny.search))[:12]
    )
    copy = shutil.copytree(tiny.search, tmp_path / "copy")
    (copy / "reports" / "ranking.html").write_text("another picture")
    assert release_digest(file_digests(copy)) == release_digest(file_digests(tiny.search))
    (copy / "blend.json").write_text("{}")
    assert release_digest(file_digests(copy)) != release_digest(file_digests(tiny.search))


def test_no_file_names_the_machine_it_was_made_on(tiny: Tiny) -> None:
    root = str(Path(__file__).resolve().parents[2]).encode()
    for path in tiny.search.rglob("*"):
        if path.is_file() and path.suffix in (".onnx", ".json", ".pbtxt", ".md"):
            assert root not in path.read_bytes(), path


def test_the_cards_call_simulated_data_simulated(tiny: Tiny) -> None:
    for card in ("MODEL_CARD.md", "DATA_CARD.md"):
        assert "simulated data" in (tiny.search / card).read_text()
        assert "simulated" in metadata_load(tiny.search / card)["tags"]
    assert card_text(tiny.search).startswith("# Model card\n"), "what hubs read is no part of the page"
    assert metadata_load(tiny.search / "MODEL_CARD.md")["license_link"] == "licenses"
    assert "| mixture | 0.7500 | 0.5000 | 0.6250 | 0.6000 |" in (tiny.search / "MODEL_CARD.md").read_text()


def test_golden_requests_walk_every_path(tiny: Tiny) -> None:
    golden = pq.read_table(tiny.search / "golden" / "search.parquet").to_pandas()
    scores = pq.read_table(tiny.inputs.relevance.scores / "scores.parquet").to_pandas()
    stored = {(r.market, r.query, r.item_id): r.relevance for r in scores.itertuples()}
    assert set(golden["market"]) == set(MARKETS)
    assert set(golden["relevance_source"]) == {"stored", "computed"}
    assert not golden[golden["user_id"] == UNKNOWN_USER]["user_known"].any()
    assert golden[golden["user_id"] != UNKNOWN_USER]["user_known"].all()
    blend = Blend.load(tiny.search / "blend.json")
    for row in golden.itertuples():
        known = stored.get((row.market, normalise_query(row.query), row.item_id))
        assert (row.relevance_source == "stored") == (known is not None)
        assert known is None or abs(known - row.relevance) < 1e-6
    score = blend.score(*(golden[name].to_numpy() for name in ("relevance", "p_click", "p_purchase")))
    np.testing.assert_allclose(score, golden["score"], atol=1e-6)
    computed = golden[golden["relevance_source"] == "computed"].groupby("request").size()
    assert computed.max() <= CONFIG.max_computed
    assert blend.relevance_prior == PRIOR


def test_a_refused_verdict_builds_nothing(tiny: Tiny, tmp_path: Path) -> None:
    write_verdict(tmp_path / "verdict", passed=False)
    refused = replace(tiny.inputs.relevance, verdict=tmp_path / "verdict")
    with pytest.raises(GateRefused):
        build_release(refused, tiny.inputs.ranking, CONFIG, AS_OF, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing_behind(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    strict = CONFIG.model_copy(update={"parity_tolerance": 1e-12})
    with pytest.raises(ParityError, match="ONNX differs from PyTorch"):
        build_release(tiny.inputs.relevance, None, strict, AS_OF, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_experts_must_be_the_models(tiny: Tiny, tmp_path: Path) -> None:
    experts = shutil.copytree(tiny.inputs.relevance.experts, tmp_path / "experts")
    specs = json.loads((experts / "experts.json").read_text())
    (experts / "experts.json").write_text(json.dumps(specs[::-1]))
    with pytest.raises(BadInput, match="not the ones the relevance model was trained on"):
        build_release(replace(tiny.inputs.relevance, experts=experts), None, CONFIG, AS_OF, tmp_path / "out")


def test_parity_is_refused_where_answers_differ(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2).eval()
    signature = Signature(("x",), ("y",), ((0,),))
    export_onnx(module, (torch.zeros(2, 3),), signature, tmp_path / "model.onnx")
    cases = [(torch.randn(size, 3),) for size in (1, 5)]
    assert check_parity("linear", module, tmp_path / "model.onnx", cases, 1e-5).cases == 2
    with torch.no_grad():
        module.bias += 0.01
    with pytest.raises(ParityError, match="linear: ONNX differs from PyTorch by"):
        check_parity("linear", module, tmp_path / "model.onnx", cases, 1e-5)


def test_python_models_need_nothing_but_what_triton_has(tiny: Tiny) -> None:
    """What serves on a CPU imports numpy and tokenizers alone: the project is not on its path.

    -B, because bytecode beside them would change the release that other tests read.
    """
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import mixture, blend; from components.contracts import text; "
        "assert text.__file__.startswith(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    folders = [str(tiny.search / "triton" / model / "1") for model in ("relevance", "search")]
    subprocess.run([sys.executable, "-I", "-B", "-c", code, *folders], check=True, capture_output=True)


def test_the_modules_of_the_gpu_models_are_all_there_and_no_more(tiny: Tiny) -> None:
    """Imported without the project on the path: every module is found, and every one in the release is used."""
    folder = tiny.search / "triton" / "relevance" / "1"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import components.relevance.scoring.served; "
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'components'), sep='\\n'); "
        "assert not {'pandas', 'pyarrow', 'pydantic', 'rich'} & set(sys.modules)"
    )
    command = [sys.executable, "-I", "-B", "-c", code, str(folder)]
    imported = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    sources = {str(path) for path in (folder / "components").rglob("*.py")}
    kernels = {path for path in sources if path.endswith("_kernel.py")}  # a GPU's, imported where they are called
    assert len(kernels) == 2
    assert imported == sources - kernels
