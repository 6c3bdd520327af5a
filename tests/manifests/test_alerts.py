"""Alerts fire on what they are for and on nothing else, by Prometheus' own engine; each leads to what to do."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.observe import metrics
from tests.manifests.rendering import MANIFESTS
from tests.test_pages import anchors

RUNBOOK = MANIFESTS / "RUNBOOK.md"
OURS = 'namespace="archipelago", pod='
# As NVIDIA documents them; what answers there is asked in tests/containers/test_pod.py.
TRITONS = {"nv_inference_request_failure"}

Series = dict[str, str]
SEARCHES = f'archipelago_requests_total{{{OURS}"a", model="search", protocol="http", status="200"}}'


def failed(status: str, protocol: str = "http") -> str:
    return f'archipelago_requests_total{{{OURS}"a", model="search", protocol="{protocol}", status="{status}"}}'


def seconds(name: str, label: str, below: dict[str, int]) -> Series:
    """Buckets of a histogram that grow each 15 s: upper bound -> by how much."""
    return {f'{name}_bucket{{{OURS}"a", {label}, le="{le}"}}': f"0+{step}x240" for le, step in below.items()}


def ranked(market: str, source: str, step: int) -> Series:
    return {f'archipelago_ranked_items_total{{{OURS}"a", market="{market}", source="{source}"}}': f"0+{step}x240"}


SEARCH, QUEUE = 'model="search"', 'stage="queue"'
UP = 'up{job="archipelago/archipelago", namespace="archipelago", endpoint="http", pod='
# Alert -> series that make it fire, with the labels it fires with; series that do not. Looked at after 50 minutes.
CASES: dict[str, tuple[list[tuple[Series, dict[str, str]]], list[Series]]] = {
    "ArchipelagoDown": (
        [
            ({}, {}),
            ({f'{UP}"a"}}': "0x240", f'{UP}"b"}}': "0x240"}, {}),
        ],
        [{f'{UP}"a"}}': "0x240", f'{UP}"b"}}': "1x240"}],
    ),
    "ArchipelagoErrors": (
        [
            ({SEARCHES: "0+900x240", failed("500"): "0+30x240"}, {}),
            ({SEARCHES: "0+900x240", failed("UNAVAILABLE", "grpc"): "0+30x240"}, {}),
        ],
        [{}, {SEARCHES: "0x240"}, {SEARCHES: "0+900x240", failed("400"): "0+300x240", failed("503"): "0+1x240"}],
    ),
    "ArchipelagoTurnedAway": (
        [({SEARCHES: "0+900x240", failed("429"): "0+30x240"}, {})],
        [{}, {SEARCHES: "0+900x240", failed("500"): "0+30x240", failed("429"): "0+1x240"}],
    ),
    "ArchipelagoSlow": (
        [(seconds("archipelago_request_seconds", SEARCH, {"1.0": 90, "2.5": 100, "+Inf": 100}), {})],
        [
            seconds("archipelago_request_seconds", SEARCH, {"0.5": 100, "1.0": 100, "+Inf": 100}),
            seconds("archipelago_request_seconds", 'model="relevance"', {"1.0": 0, "2.5": 100, "+Inf": 100}),
        ],
    ),
    "ArchipelagoQueueing": (
        [(seconds("archipelago_stage_seconds", QUEUE, {"1.0": 50, "2.5": 100, "+Inf": 100}), {})],
        [
            seconds("archipelago_stage_seconds", QUEUE, {"1.0": 95, "2.5": 100, "+Inf": 100}),
            seconds("archipelago_stage_seconds", 'stage="features"', {"1.0": 0, "2.5": 100, "+Inf": 100}),
        ],
    ),
    "ArchipelagoDefaultRelevance": (
        [(ranked("TH", "stored", 70) | ranked("TH", "default", 30) | ranked("ID", "stored", 900), {"market": "TH"})],
        [ranked("TH", "stored", 90) | ranked("TH", "default", 10), {}],
    ),
    "ArchipelagoFeaturesOld": (
        [({f'archipelago_feature_age_seconds{{{OURS}"a"}}': "180000+15x240"}, {})],
        [{f'archipelago_feature_age_seconds{{{OURS}"a"}}': "90000+15x240"}],
    ),
    "ArchipelagoLogLost": (
        [({f'archipelago_log_records_total{{{OURS}"a", what="lost"}}': "0x190 7x50"}, {})],
        [{f'archipelago_log_records_total{{{OURS}"a", what="written"}}': "0+100x240"}],
    ),
    "ArchipelagoTritonFailing": (
        [
            (
                {f'nv_inference_request_failure{{{OURS}"a", model="ranker", reason="BACKEND"}}': "0+1x240"},
                {"model": "ranker"},
            )
        ],
        [{f'nv_inference_request_failure{{{OURS}"a", model="ranker", reason="CANCELED"}}': "0+1x240"}],
    ),
}


@pytest.fixture(scope="module")
def rules() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((MANIFESTS / "components" / "alerts" / "rules.yaml").read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in document["spec"]["groups"] for rule in group["rules"]}


def test_every_alert_has_its_cases(rules: dict[str, dict[str, Any]]) -> None:
    assert set(rules) == set(CASES)
    assert all(firing and quiet for firing, quiet in CASES.values())


def test_alerts_fire_on_what_they_are_for_alone(rules: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool to run rules with")
    document = yaml.safe_load((MANIFESTS / "components" / "alerts" / "rules.yaml").read_text(encoding="utf-8"))
    # Annotations hold values that promtool would compare: they are read by people.
    groups = [
        {**g, "rules": [{k: v for k, v in rule.items() if k != "annotations"} for rule in g["rules"]]}
        for g in document["spec"]["groups"]
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    tests = [
        {
            "name": f"{alert}, {'firing' if labels is not None else 'quiet'} {number}",
            "interval": "15s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [
                {
                    "eval_time": "50m",
                    "alertname": alert,
                    "exp_alerts": []
                    if labels is None
                    else [{"exp_labels": {**labels, "severity": rules[alert]["labels"]["severity"]}}],
                }
            ],
        }
        for alert, (firing, quiet) in CASES.items()
        for number, (series, labels) in enumerate([*firing, *((each, None) for each in quiet)])
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": tests}))
    run = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_alerts_read_metrics_that_are_there(rules: dict[str, dict[str, Any]]) -> None:
    held = (metrics.REQUESTS, metrics.SECONDS, metrics.STAGES, metrics.SOURCES, metrics.LOG_RECORDS)
    known = {f"{metric._name}_{end}" for metric in held for end in ("total", "bucket")} | TRITONS
    known |= {family.name for family in metrics.FeatureAge(datetime.now(UTC)).collect()} | {"up"}
    for rule in rules.values():
        assert set(re.findall(r"\b(?:archipelago|nv)_\w+|\bup\b", rule["expr"])) <= known


def test_each_alert_leads_to_a_section_and_each_section_to_an_alert(rules: dict[str, dict[str, Any]]) -> None:
    places = {name: rule["annotations"]["runbook"] for name, rule in rules.items()}
    assert places == {name: f"manifests/RUNBOOK.md#{name.lower()}" for name in rules}
    assert {name.lower() for name in rules} <= anchors(RUNBOOK)
    headings = re.findall(r"^### (Archipelago\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(rules), "in the order of the rules"
