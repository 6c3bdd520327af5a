"""What replicas follow: the query of each overlay, run by Prometheus' own engine over made-up metrics."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.observe import metrics
from tests.manifests.rendering import RENDERINGS, render

Samples = dict[str, str]

PODS = 'namespace="archipelago", pod='
# A line a series, in promtool's notation: start, step a scrape (15 s), how often. A step of 15 is one request under
# way all the time.
# No value: no series matched, which KEDA takes for 0.
CASES: dict[str, tuple[Samples, float | None]] = {
    "nothing was ever asked": ({}, None),
    "nobody asks": ({f'archipelago_request_seconds_sum{{{PODS}"a", model="search"}}': "100+0x20"}, 0),
    "eight searches under way in two pods": (
        {
            f'archipelago_request_seconds_sum{{{PODS}"a", model="search"}}': "0+45x20",
            f'archipelago_request_seconds_sum{{{PODS}"b", model="search"}}': "700+75x20",
        },
        8,
    ),
    "models of one pod together": (
        {
            f'archipelago_request_seconds_sum{{{PODS}"a", model="search"}}': "0+30x20",
            f'archipelago_request_seconds_sum{{{PODS}"a", model="relevance"}}': "0+15x20",
        },
        3,
    ),
    "a pod that started anew, its counter with it": (
        {f'archipelago_request_seconds_sum{{{PODS}"a", model="search"}}': "0+60x14 0+60x5"},
        4,
    ),
    "a scrape that was missed": (
        {f'archipelago_request_seconds_sum{{{PODS}"a", model="search"}}': "0+60x17 _ 1140+60x1"},
        4,
    ),
    "a pod that is gone": (
        {
            f'archipelago_request_seconds_sum{{{PODS}"a", model="search"}}': "0+30x20",
            f'archipelago_request_seconds_sum{{{PODS}"b", model="search"}}': "0+300x10 stale",
        },
        2,
    ),
    "another namespace's service": (
        {
            f'archipelago_request_seconds_sum{{{PODS}"a", model="search"}}': "0+15x20",
            'archipelago_request_seconds_sum{namespace="staging", pod="a", model="search"}': "0+900x20",
        },
        1,
    ),
    "events, which take a pod's time too": (
        {f'archipelago_request_seconds_sum{{{PODS}"a", model="events"}}': "0+15x20"},
        1,
    ),
}


def predictor(rendering: str) -> dict[str, Any]:
    service = next(m for m in render(rendering) if m["kind"] == "InferenceService")
    found: dict[str, Any] = service["spec"]["predictor"]
    return found


def external_metrics(rendering: str) -> list[dict[str, Any]]:
    found = predictor(rendering).get("autoScaling", {}).get("metrics", [])
    return [metric["external"] for metric in found]


def scaled(rendering: str, value: float) -> int:
    """Replicas for a value of the query, as KServe and KEDA lead to: `value` of the target is a replica's share."""
    (metric,) = external_metrics(rendering)
    wanted = -(-value // float(metric["target"]["value"]))
    spec = predictor(rendering)
    return int(min(max(wanted, spec["minReplicas"]), spec["maxReplicas"]))


def test_the_query_counts_requests_under_way(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool to run queries with")
    queries = {metric["metric"]["query"] for name in RENDERINGS for metric in external_metrics(name)}
    assert queries
    tests = [
        {
            "name": name,
            "interval": "15s",
            "input_series": [{"series": series, "values": values} for series, values in samples.items()],
            "promql_expr_test": [
                {
                    "expr": query,
                    "eval_time": "5m",
                    "exp_samples": [] if expected is None else [{"labels": "{}", "value": expected}],
                }
                for query in sorted(queries)
            ],
        }
        for name, (samples, expected) in CASES.items()
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "15s", "tests": tests}))
    run = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_replicas_go_from_the_least_to_the_most() -> None:
    assert [scaled("base", value) for value in (0, 4, 5, 16, 400)] == [1, 1, 2, 4, 4]
    # Two in production whatever happens, and a GPU's share is larger.
    assert [scaled("overlays/production", value) for value in (0, 64, 65, 256, 4000)] == [2, 2, 3, 8, 8]


def test_the_query_reads_a_metric_that_the_service_has() -> None:
    known = {sample.name for metric in metrics.SECONDS.collect() for sample in metric.samples}
    metrics.SECONDS.labels("search").observe(0)
    known |= {sample.name for metric in metrics.SECONDS.collect() for sample in metric.samples}
    for name in RENDERINGS:
        for metric in external_metrics(name):
            assert set(re.findall(r"archipelago_\w+", metric["metric"]["query"])) <= known


def test_a_window_holds_four_scrapes() -> None:
    manifests = render("base")
    monitor = next(m for m in manifests if m["kind"] == "PodMonitor")
    seconds = {int(endpoint["interval"].removesuffix("s")) for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    windows = [
        int(window)
        for metric in external_metrics("base")
        for window in re.findall(r"\[(\d+)m\]", metric["metric"]["query"])
    ]
    assert windows
    assert all(window * 60 >= 4 * max(seconds) for window in windows)
