"""What the gate's step says in Markdown, and its artifact's metadata."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.contracts.tools.manifest import read_manifest, write_json, write_manifest
from components.release.component import gate
from components.release.conclusions import conclusions
from components.release.gate_config import GateConfig
from components.relevance.evaluation.report import headline
from tests.pipelines.run_summary import summary


@pytest.fixture
def stages(tmp_path: Path) -> dict[str, Path]:
    """Directories of the models and of the drift, with a whole run's figures."""
    run, made = summary(), {name: tmp_path / name for name in ("relevance_model", "ranker", "drift")}
    counts = dict.fromkeys(run["markets"], 100) | {"JA": 0}  # it has no AUC
    relevance = {"relevance": run["relevance"], "deltas": run["deltas"], "lexical_share": 0.25, "judgments": counts}
    ranker = {"ranking": run["ranking"], "baseline": run["baseline"], "released": "hhsft_es3", "leak": run["leak"]}
    markets = {"TH": {"severity": "none", "tested": 5, "critical": 0, "warnings": 0, "because": []}}
    write_json(made["drift"] / "drift.json", {"markets": markets, "untested": [], "expected": False, "drifted": False})
    for name, metrics in (("relevance_model", relevance), ("ranker", ranker), ("drift", {})):
        write_manifest(made[name], name, {}, {}, metrics, simulated=run["simulated"])
    return made


def judged(stages: dict[str, Path], tmp_path: Path, **floors: Any) -> tuple[bool, str, dict[str, Any]]:
    out = {name: dsl.Artifact(uri=str(tmp_path / f"out-{name}")) for name in ("verdict", "report", "summary")}
    given = {name: dsl.Artifact(uri=str(path)) for name, path in stages.items()}
    (passed,) = gate.python_func(**given, **out, config=GateConfig(**floors).structure)
    return passed, Path(out["summary"].path).read_text(encoding="utf-8"), out["verdict"].metadata


def test_a_pass_and_what_the_figures_show_are_said(stages: dict[str, Path], tmp_path: Path) -> None:
    passed, said, metadata = judged(stages, tmp_path, min_relevance_auc=0.0, relevance_tolerance=1.0)
    assert passed is True and said.startswith("# Gate passed\n")
    stored = json.loads(json.dumps(summary(), sort_keys=True))  # as manifests hold it
    assert all(f"- {sentence}\n" in said for sentence in conclusions(stored))
    assert "## Refused" not in said
    assert metadata["passed"] is True and metadata["failed"] == 0
    assert metadata["inputs"]["ranker"] == read_manifest(stages["ranker"])["digest"]


def test_a_refusal_says_which_checks_failed(stages: dict[str, Path], tmp_path: Path) -> None:
    passed, said, metadata = judged(stages, tmp_path, min_relevance_auc=1.0)
    assert passed is False and said.startswith("# Gate refused the release\n")
    failed = said.partition("## Refused")[2].partition("## ")[0].strip().splitlines()
    assert len(failed) == metadata["failed"] > 0
    assert all(line.startswith("- relevance auc") for line in failed)


def test_a_relevance_models_metadata_hold_its_auc_with_intervals(stages: dict[str, Path]) -> None:
    said, row = headline(stages["relevance_model"]), summary()["relevance"]["mixture"]
    assert said["auc"]["pooled"] == pytest.approx(row["pooled"])
    assert said["intervals"].keys() == said["auc"].keys() == row.keys() - {"interval", "JA"}, "KFP's have no null"
