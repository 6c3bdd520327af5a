"""Counting in several processes: any of them tells what all have counted."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]
COUNT = """
import os, sys
from datetime import datetime
from serving.observe import metrics
from serving.observe.observer import Observer
def ask(observer):
    with observer.observed("rest", "search", {}) as exchange:
        exchange.status = "200"
observer = Observer(["search"], [])
child = os.fork()
for _ in range(2 if child else 3):
    ask(observer)
if child:
    os.waitpid(child, 0)
    sys.stdout.write(metrics.page(datetime.fromisoformat(sys.argv[1]), None)[0].decode())
"""


def page(environment: dict[str, str], as_of: datetime) -> dict[str, float]:
    env = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COUNT, as_of.isoformat()]
    ended = subprocess.run(command, capture_output=True, text=True, env=env | environment, check=True)
    families = text_string_to_metric_families(ended.stdout)
    return {sample.name: sample.value for family in families for sample in family.samples if "le" not in sample.labels}


def test_processes_count_together(tmp_path: Path) -> None:
    as_of = datetime.now(UTC) - timedelta(hours=1)
    alone, together = page({}, as_of), page({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}, as_of)
    assert alone["archipelago_requests_total"] == 2
    assert together["archipelago_requests_total"] == 5
    assert together["archipelago_request_seconds_count"] == 5
    for told in (alone, together):
        assert 3600 <= told["archipelago_feature_age_seconds"] < 3700
