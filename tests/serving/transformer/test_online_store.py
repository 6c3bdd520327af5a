"""The online store: it answers what the point-in-time join answers, in two batched reads, and is built once."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.contracts.errors import BadInput
from components.contracts.features import FEATURES, assemble
from components.contracts.text import query_key
from components.features.config import FeaturesConfig
from components.features.join import join_rows
from components.features.latest import latest_slice
from components.features.tables import build_feature_tables
from serving.transformer.online_store import OnlineFeatures, build_online_store
from tests.features.toy_log import AS_OF, MARKETS, write_toy_log

USERS = ("u0", "u5", "u11", "stranger")
QUERIES = ("Red  SHOE", "เคสมือถือ", "never searched")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """features: all rows; latest: what a release carries; state: its online store."""
    root = tmp_path_factory.mktemp("release")
    log, scores = write_toy_log(root)
    build_feature_tables(log, scores, FeaturesConfig(), AS_OF, root / "features")
    latest_slice(root / "features", AS_OF, root / "latest")
    build_online_store(root / "latest", root / "state")
    return root


def assert_no_skew(online: OnlineFeatures, features: Path, items: list[str]) -> None:
    """Every tensor read online is, bit for bit, what the point-in-time join gives at the same instant."""
    cases = [(user, market, text) for user in USERS for market in MARKETS for text in QUERIES]
    rows = pd.DataFrame(
        [
            {"user_id": u, "item_id": i, "market": m, "query": q, "domain": "search", "timestamp": AS_OF}
            for u, m, q in cases
            for i in items
        ]
    )
    offline = join_rows(features, rows, MARKETS)
    for number, (user, market, text) in enumerate(cases):
        columns, known = online.read(user, MARKETS.index(market), query_key(market, text), items)
        expected = offline.iloc[number * len(items) : (number + 1) * len(items)]
        assert list(columns) == [feature.name for feature in FEATURES]
        assert known == (user != "stranger")
        assert (expected["user_known"] == known).all()
        got, wanted = assemble(columns), assemble(expected)
        for part in ("numeric", "categorical", "sequences"):
            np.testing.assert_array_equal(getattr(got, part), getattr(wanted, part), strict=True)


def test_online_reads_equal_the_point_in_time_join(release: Path) -> None:
    items = ["i7", "i0", "nowhere", "i29", "i7"]
    assert_no_skew(OnlineFeatures(release / "state"), release / "features", items)


def test_the_latest_slice_joins_as_all_rows_do(release: Path) -> None:
    assert_no_skew(OnlineFeatures(release / "state"), release / "latest", ["i1", "i2"])


def test_a_request_costs_two_batched_reads(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    online = OnlineFeatures(release / "state")
    calls = []
    read = online._store.get_online_features

    def counted(**arguments: object) -> object:
        calls.append({key: len(values) for key, values in arguments["entity_rows"].items()})
        return read(**arguments)

    monkeypatch.setattr(online._store, "get_online_features", counted)
    items = [f"i{i % 30}" for i in range(1000)]
    columns, _ = online.read("u1", 0, "ID:bag", items)
    assert calls == [{"user_id": 1, "query_key": 1}, {"item_id": 1000, "query_key": 1000}]
    assert assemble(columns).numeric.shape[0] == 1000


def test_nobody_and_nothing_known_still_gives_every_column(release: Path) -> None:
    columns, known = OnlineFeatures(release / "state").read("stranger", 1, "TH:?", ["a", "b"])
    tensors = assemble(columns)
    assert not known
    assert np.isnan(tensors.numeric).all()
    assert not tensors.sequences.any()
    codes = dict(zip([f.name for f in FEATURES if f.kind == "categorical"], tensors.categorical.T, strict=True))
    assert list(codes.pop("market_code")) == [1, 1]
    assert not np.any(list(codes.values()))


def test_threads_may_share_a_reader(release: Path) -> None:
    online = OnlineFeatures(release / "state")
    items = [f"i{i}" for i in range(30)]

    def read(user: str) -> np.ndarray:
        return assemble(online.read(user, 0, "ID:bag", items)[0]).numeric

    users = [f"u{i % 12}" for i in range(60)]
    alone = [read(user) for user in users]
    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_array_equal(list(pool.map(read, users)), alone)


def test_a_store_is_built_once_for_the_same_tables(release: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    build_online_store(release / "latest", state)
    database = state / "online_store" / "online.db"
    first = database.stat()
    build_online_store(release / "latest", state)
    assert database.stat().st_ino == first.st_ino
    assert database.stat().st_mtime_ns == first.st_mtime_ns

    latest_slice(release / "features", AS_OF - timedelta(days=9), tmp_path / "earlier")
    build_online_store(tmp_path / "earlier", state)
    assert database.stat().st_ino != first.st_ino
    then, _ = OnlineFeatures(state).read("u1", 0, "ID:bag", ["i1"])
    now, _ = OnlineFeatures(release / "state").read("u1", 0, "ID:bag", ["i1"])
    assert then["item_exposures_7d"] != now["item_exposures_7d"] or then["clicked_items"] != now["clicked_items"]


def test_a_build_that_fails_leaves_the_old_store(release: Path, tmp_path: Path) -> None:
    state, broken = tmp_path / "state", tmp_path / "broken"
    build_online_store(release / "latest", state)
    shutil.copytree(release / "latest", broken)
    manifest = broken / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"digest": "', '"digest": "0'))
    (broken / "item_stats.parquet").write_bytes(b"PAR1")
    with pytest.raises(Exception):  # noqa: B017  # Feast's, whichever it is
        build_online_store(broken, state)
    assert OnlineFeatures(state).read("u1", 0, "ID:bag", ["i1"])[1]
    assert sorted(p.name for p in state.iterdir()) == ["online_store"]


def test_tables_without_a_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"manifest\.json"):
        build_online_store(tmp_path, tmp_path / "state")


def test_a_state_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="online_store"):
        OnlineFeatures(tmp_path)


@pytest.fixture
def redis_address(tmp_path: Path) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(timeout=10)


def test_redis_serves_the_same_values(release: Path, tmp_path: Path, redis_address: str) -> None:
    build_online_store(release / "latest", tmp_path / "state", online=redis_address)
    assert not (tmp_path / "state" / "online_store" / "online.db").exists()
    assert_no_skew(OnlineFeatures(tmp_path / "state"), release / "features", ["i7", "nowhere", "i0"])
