"""The folder that a server logs to is compared with another such folder while it is being written."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.contracts.errors import BadInput
from components.contracts.tables import write_table
from components.contracts.tools.manifest import read_json
from components.monitoring.drift import compare
from components.monitoring.table_pairs import read_side
from serving.observe.exchange import Exchange
from serving.observe.pseudonym import Pseudonyms
from serving.observe.serving_log import ServingLog
from tests.monitoring.drift_world import CONFIG

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def _live_log(folder: Path, failed: int, release: str, days: int = 1) -> Path:
    """What a server's own writer leaves of searches, a part that is not whole and a line without an end beside it."""
    log = ServingLog(folder, release, Pseudonyms("k" * 32), 1 << 30)
    rng = np.random.default_rng(failed)
    for n in range(900):
        answered = n >= failed
        exchange = Exchange("rest", "search", f"{release}-{n}", T0 + timedelta(days=days * n / 900))
        exchange.market, exchange.user_id, exchange.query, exchange.items = "TH", f"user {n % 300}", "q", 2
        exchange.status = "200" if answered else "503"
        if answered:
            exchange.page = {
                "item_ids": np.array([f"i{n}", f"j{n}"], dtype=object),
                "relevance_source": np.array([b"stored", b"stored"], dtype=object),
                **{name: rng.random(2).astype(np.float32) for name in ("score", "relevance", "p_click", "p_purchase")},
            }
        assert log.offer(exchange)
    log.close()
    (folder / ".part-unfinished").mkdir()
    lines = next(folder.glob("requests-*.jsonl"))
    lines.write_text(lines.read_text() + '{"status": "500", "mar')
    return folder


def test_a_servers_live_log_is_compared_as_it_lies(tmp_path: Path) -> None:
    calm, next_release, failing = (
        _live_log(tmp_path / name, failed, name) for name, failed in (("calm", 0), ("next", 0), ("failing", 60))
    )
    assert not compare(calm, next_release, CONFIG, tmp_path / "quiet")
    assert read_json(tmp_path / "quiet" / "drift.json")["severity"] == "info"  # no impressions: positions are empty
    assert compare(calm, failing, CONFIG, tmp_path / "out")
    summary = read_json(tmp_path / "out" / "drift.json")
    assert "lines.status (failed): mean 0 -> 0.0667" in summary["markets"]["TH"]["because"]
    tables = {finding["table"] for finding in summary["findings"]}
    assert tables == {"lines", "requests", "candidates"}


def test_a_serving_log_and_another_kind_of_data_are_told_apart(tmp_path: Path) -> None:
    served = _live_log(tmp_path / "served", 0, "r")
    table = tmp_path / "table.jsonl"
    table.write_text('{"market": "TH", "price": 1}\n')
    with pytest.raises(BadInput, match="one is a log directory, the other is not"):
        compare(served, table, CONFIG, tmp_path / "out")


def test_a_folder_of_spark_parts_is_one_table(tmp_path: Path) -> None:
    for part in ("part-00000.parquet", "part-00001.parquet"):
        write_table(pa.table({"market": ["TH"] * 300, "price": np.arange(300.0)}), tmp_path / "a" / part)
    assert read_side(tmp_path / "a", CONFIG)["a"].rows == {"TH": 600}
