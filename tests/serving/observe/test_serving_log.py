"""The serving log: what is written satisfies the log contract, bounded in memory and on disk, and whole."""

import json
import logging
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client import REGISTRY

from components.contracts.errors import BadInput
from components.contracts.schemas import CANDIDATES, EVENTS, IMPRESSIONS, REQUESTS
from components.contracts.tables import read_table
from serving.observe import serving_log
from serving.observe.exchange import Exchange
from serving.observe.log_tables import Event
from serving.observe.pseudonym import KEY_VARIABLE, Pseudonyms, read_key
from serving.observe.serving_log import ServingLog, keep_within

PSEUDONYMS = Pseudonyms("a key of a test, long enough")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def search(items: int = 3, user: str = "TH-user-1", query: str = "เคสมือถือ") -> Exchange:
    page = {
        "item_ids": np.array([f"TH-{i}" for i in range(items)], dtype=object),
        "relevance_source": np.array([b"stored", b"default"] * items, dtype=object)[:items],
    } | {name: np.linspace(0.9, 0.1, items, dtype=np.float32) for name in ("score", "relevance", "p_click")}
    page["p_purchase"] = page["p_click"] / 2
    return Exchange(
        "rest", "search", market="TH", user_id=user, query=query, items=items, page=page, status="200", seconds=0.01
    )


def event(kind: str, request: str | None = "r1", **more) -> Event:
    return Event(f"e-{kind}", "TH-user-1", "TH-0", "search", request, kind, NOW, **more)


def parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith("part-"))


def lines(folder: Path) -> list[dict]:
    return [json.loads(text) for path in folder.glob("requests-*.jsonl") for text in path.read_text().splitlines()]


def counted(what: str) -> float:
    return REGISTRY.get_sample_value("archipelago_log_records_total", {"what": what}) or 0.0


def wait_for(condition, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_part_satisfies_the_contract_and_keeps_the_page(tmp_path: Path) -> None:
    log = ServingLog(tmp_path, "abc123", PSEUDONYMS, 1 << 30)
    answered = search(3)
    for record in (answered, search(2, "TH-user-2"), event("click"), event("impression", position=1)):
        assert log.offer(record)
    log.close()
    (part,) = parts(tmp_path)
    requests = read_table(part / "requests.parquet", REQUESTS).to_pylist()
    assert requests[0]["request_id"] == answered.request_id
    assert requests[0] | {"request_id": "", "timestamp": None} == {
        "request_id": "",
        "user_id": PSEUDONYMS.of("TH-user-1"),
        "market": "TH",
        "domain": "search",
        "query": "เคสมือถือ",
        "timestamp": None,
        "release": "abc123",
    }
    assert abs(requests[0]["timestamp"] - answered.time) < timedelta(milliseconds=1)
    candidates = read_table(part / "candidates.parquet", CANDIDATES).to_pylist()
    assert [(row["item_id"], row["position"], row["rank"]) for row in candidates] == [
        ("TH-0", None, 1),
        ("TH-1", None, 2),
        ("TH-2", None, 3),
        ("TH-0", None, 1),
        ("TH-1", None, 2),
    ]
    assert [row["relevance_source"] for row in candidates[:3]] == ["stored", "default", "stored"]
    np.testing.assert_allclose([row["score"] for row in candidates[:3]], [0.9, 0.5, 0.1], rtol=1e-6)
    np.testing.assert_allclose([row["p_purchase"] for row in candidates[:3]], [0.45, 0.25, 0.05], rtol=1e-6)
    (click,) = read_table(part / "events.parquet", EVENTS).to_pylist()
    assert (click["user_id"], click["type"]) == (PSEUDONYMS.of("TH-user-1"), "click")
    (seen,) = read_table(part / "impressions.parquet", IMPRESSIONS).to_pylist()
    assert (seen["item_id"], seen["position"], seen["user_id"]) == ("TH-0", 1, click["user_id"])


def test_lines_tell_every_request_and_no_users_text(tmp_path: Path) -> None:
    log = ServingLog(tmp_path, "abc123", PSEUDONYMS, 1 << 30)
    answered = search(3)
    answered.stages["features"] = 0.002
    log.offer(answered)
    log.offer(Exchange("grpc", "relevance", status="INVALID_ARGUMENT"))
    wait_for(lambda: len(lines(tmp_path)) == 2)  # without waiting for a part
    assert not parts(tmp_path)
    log.close()
    first, second = lines(tmp_path)
    assert first == {
        "time": answered.time.isoformat(timespec="microseconds"),
        "request_id": answered.request_id,
        "protocol": "rest",
        "model": "search",
        "status": "200",
        "market": "TH",
        "user": PSEUDONYMS.of("TH-user-1"),
        "items": 3,
        "relevance_source": {"stored": 2, "default": 1},
        "latency_ms": 10.0,
        "stages_ms": {"features": 2.0},
        "release": "abc123",
    }
    assert (second["status"], second["user"], second["relevance_source"]) == ("INVALID_ARGUMENT", None, {})
    assert len(parts(tmp_path)) == 1


def test_queries_stand_in_lines_where_a_flag_says_so_and_cannot_break_them(tmp_path: Path) -> None:
    log = ServingLog(tmp_path, "abc123", PSEUDONYMS, 1 << 30, texts=True)
    log.offer(search(1, query='a\n{"forged": 1}\u2028\x1b[31m'))
    log.close()
    (line,) = lines(tmp_path)
    assert line["query"] == 'a\n{"forged": 1}\u2028\x1b[31m'
    (path,) = tmp_path.glob("requests-*.jsonl")
    text = path.read_text(encoding="ascii")
    assert text.count("\n") == 1
    assert "\x1b" not in text


def test_parts_close_when_full_or_old(tmp_path: Path) -> None:
    log = ServingLog(tmp_path / "full", "r", PSEUDONYMS, 1 << 30, part_rows=10)
    for _ in range(3):
        log.offer(search(4))
    wait_for(lambda: len(parts(tmp_path / "full")) == 1)
    log.close()
    log = ServingLog(tmp_path / "old", "r", PSEUDONYMS, 1 << 30, part_seconds=0.1)
    log.offer(search(4))
    wait_for(lambda: len(parts(tmp_path / "old")) == 1)
    log.offer(search(4))
    wait_for(lambda: len(parts(tmp_path / "old")) == 2)
    log.close()
    for part in parts(tmp_path / "old"):
        assert f"-{os.getpid()}" in part.name
        assert pq.read_metadata(part / "candidates.parquet").num_rows == 4


def test_more_than_fits_is_dropped_and_counted_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> dict:
        time.sleep(1.0)
        return {}

    monkeypatch.setattr(serving_log, "log_tables", slow)
    log = ServingLog(tmp_path, "r", PSEUDONYMS, 1 << 30, part_rows=100)
    before, began = counted("dropped"), time.monotonic()
    taken = [log.offer(search(9)) for _ in range(100)]
    assert time.monotonic() - began < 0.5
    # Two parts' rows at most are held: one that is written, one that waits.
    assert taken == [True] * 20 + [False] * 80
    assert counted("dropped") - before == 80
    wait_for(lambda: log.offer(search(9)))  # there is room again when a part is written
    log.close()
    assert not log.offer(search(1))


def test_the_oldest_are_removed_beyond_the_limit_and_strangers_stay(tmp_path: Path) -> None:
    log = ServingLog(tmp_path, "r", PSEUDONYMS, 1 << 30, part_rows=5)
    for number in range(6):
        log.offer(search(5))
        wait_for(lambda count=number + 1: len(parts(tmp_path)) == count)
        os.utime(parts(tmp_path)[-1], (number + 1, number + 1))
    made = parts(tmp_path)
    (own,) = tmp_path.glob("requests-*.jsonl")
    (tmp_path / "requests-1.jsonl").write_text("{}\n")
    os.utime(tmp_path / "requests-1.jsonl", (0, 0))
    stranger = tmp_path / "notes.txt"
    stranger.write_bytes(b"x" * 100_000)
    unfinished = tmp_path / ".part-20260101T000000.000000Z-1.abc"
    unfinished.mkdir()
    os.utime(unfinished, (0, 0))
    size = sum(file.stat().st_size for file in made[0].iterdir())
    keep_within(tmp_path, own.stat().st_size + 3 * size + size // 2, own)
    log.close()
    assert parts(tmp_path)[:3] == made[3:]
    assert stranger.exists()
    assert own.exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    assert not (tmp_path / "requests-1.jsonl").exists()


def test_a_disk_that_refuses_costs_a_part_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(table: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(serving_log, "write_table", full)
        log = ServingLog(tmp_path, "r", PSEUDONYMS, 1 << 30, part_rows=5)
        before = counted("lost")
        with caplog.at_level(logging.ERROR):
            log.offer(search(5))
            wait_for(lambda: counted("lost") == before + 1)
    assert not [path for path in tmp_path.iterdir() if "part-" in path.name]
    (line,) = [record.message for record in caplog.records]
    assert "1 searches and 0 events are lost" in line
    assert "No space left" in line
    log.offer(search(5))  # and it goes on
    log.close()
    assert len(parts(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file/log: cannot be written to"):
        ServingLog(tmp_path / "file" / "log", "r", PSEUDONYMS, 1 << 30)


def test_pseudonyms_need_a_key_that_nobody_guesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(BadInput, match=KEY_VARIABLE):
        read_key(None)
    with pytest.raises(BadInput, match="not a readable key file"):
        read_key(tmp_path / "none")
    (tmp_path / "short").write_text("short\n")
    with pytest.raises(BadInput, match="at least 16 characters"):
        read_key(tmp_path / "short")
    monkeypatch.setenv(KEY_VARIABLE, "0123456789abcdef")
    assert read_key(None) == "0123456789abcdef"
    mine, other = Pseudonyms(read_key(None)), Pseudonyms("another key, long enough")
    assert mine.of("u1") == mine.of("u1") != mine.of("u2")
    assert mine.of("u1") != other.of("u1")
    assert len(mine.of("u1")) == 32
