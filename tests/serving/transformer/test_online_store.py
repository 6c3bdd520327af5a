"""The online store: it answers what the point-in-time join answers, sees pushes at once, and is built once."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.contracts.errors import BadInput
from components.contracts.features import FEATURES, NUMERIC, REQUEST_VIEWS, Fact, Feature, assemble
from components.contracts.text import query_key
from components.features.config import FeaturesConfig
from components.features.join import join_rows
from components.features.latest import latest_slice
from components.features.tables import build_feature_tables
from feature_repo import packed
from serving.transformer.item_rows import STALENESS_S, ItemRows
from serving.transformer.online_store import OnlineFeatures, build_online_store, connect_built
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
        columns, known = online.read(user, MARKETS.index(market), query_key(market, text), items, AS_OF)
        expected = offline.iloc[number * len(items) : (number + 1) * len(items)]
        assert list(columns) == [feature.name for feature in FEATURES]
        assert known == (user != "stranger")
        assert (expected["user_known"] == known).all()
        got, wanted = assemble(columns), assemble(expected)
        for column, feature in enumerate(NUMERIC):
            values = wanted.numeric[:, column]
            np.testing.assert_array_equal(got.numeric[:, column], values, strict=True, err_msg=feature.name)
        np.testing.assert_array_equal(got.categorical, wanted.categorical, strict=True)
        shared = np.broadcast_to(got.sequences, wanted.sequences.shape)
        np.testing.assert_array_equal(shared, wanted.sequences, strict=True)


def test_online_reads_equal_the_point_in_time_join(release: Path) -> None:
    items = ["i7", "i0", "nowhere", "i29", "i7"]
    assert_no_skew(OnlineFeatures(release / "state"), release / "features", items)


def test_the_latest_slice_joins_as_all_rows_do(release: Path) -> None:
    assert_no_skew(OnlineFeatures(release / "state"), release / "latest", ["i1", "i2"])


def counted_reads(online: OnlineFeatures, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """View and number of keys of every read from now on."""
    calls = []
    read = online._store.provider.online_read

    def counted(config: object, view: object, keys: list, *others: object) -> object:
        calls.append((view.name, len(keys)))
        return read(config, view, keys, *others)

    monkeypatch.setattr(online._store.provider, "online_read", counted)
    return calls


OF_REQUEST = [(view, 1) for view in (*REQUEST_VIEWS, *packed.NAMES.values())]


def test_a_request_reads_its_own_rows_and_those_items_that_were_not_read_before(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = OnlineFeatures(release / "state")
    calls = counted_reads(online, monkeypatch)
    columns, _ = online.read("u1", 0, "ID:bag", [f"i{i}" for i in range(20)])
    # Three categories.
    assert sorted(calls) == sorted([*OF_REQUEST, ("item_profile", 20), ("item_stats", 20), ("category_stats", 3)])
    calls.clear()
    columns, _ = online.read("u1", 0, "ID:bag", [f"i{i % 30}" for i in range(1000)])
    assert sorted(calls) == sorted([*OF_REQUEST, ("item_profile", 10), ("item_stats", 10)])
    assert assemble(columns).numeric.shape[0] == 1000
    calls.clear()
    online.read("u2", 0, "ID:bag", ["i7"])
    assert sorted(calls) == sorted(OF_REQUEST)


def test_a_pushed_row_of_a_user_is_in_the_next_read(release: Path, tmp_path: Path) -> None:
    build_online_store(release / "latest", tmp_path / "state")
    online = OnlineFeatures(tmp_path / "state")
    assert online.read("u1", 0, "ID:bag", ["i1"])[0]["clicked_items"][0, 0] != 4711
    connect_built(tmp_path / "state").write_to_online_store("user_sequences", pushed_row("u1", 4711))
    assert online.read("u1", 0, "ID:bag", ["i1"])[0]["clicked_items"].tolist() == [[4711] + [0] * 49]


def pushed_row(user: str, code: int) -> pd.DataFrame:
    """A row of sequences, newer than the toy log: one click."""
    clicked = {"items": code, "categories": 7, "domains": 1, "at": int(AS_OF.timestamp())}
    lists = {f"clicked_{name}": [[value]] for name, value in clicked.items()}
    lists |= {f"purchased_{name}": [[]] for name in clicked}
    return pd.DataFrame({"user_id": [user], "event_timestamp": [AS_OF + timedelta(seconds=1)]} | lists)


def test_items_rows_are_read_again_after_a_minute() -> None:
    columns = [Feature("price_log", "item_profile", "item", "numeric"), Fact("brand", "item_profile", "text")]
    now, stored, asked = [0.0], {"a": 1.0, "b": 2.0}, []

    def read(item_ids: list[str]) -> list[dict[str, float | None]]:
        asked.append(list(item_ids))
        return [
            {"price_log": stored.get(item_id), "brand": item_id if item_id in stored else None} for item_id in item_ids
        ]

    rows = ItemRows(columns, read, lambda: now[0])
    np.testing.assert_array_equal(rows.columns(["a", "nowhere", "a"])["price_log"], [1, np.nan, 1])
    assert rows.columns(["a", "nowhere", "a"])["brand"].tolist() == ["a", "", "a"]
    stored["a"] = 5.0
    now[0] = STALENESS_S - 1
    np.testing.assert_array_equal(rows.columns(["b", "a"])["price_log"], [2, 1])
    now[0] = STALENESS_S
    np.testing.assert_array_equal(rows.columns(["b", "a"])["price_log"], [2, 5])
    assert asked == [["a", "nowhere"], ["b"], ["a"]]


def test_nobody_and_nothing_known_still_gives_every_column(release: Path) -> None:
    columns, known = OnlineFeatures(release / "state").read("stranger", 1, "TH:?", ["a", "b"])
    tensors = assemble(columns)
    assert not known
    np.testing.assert_array_equal(tensors.numeric, [[feature.unknown for feature in NUMERIC]] * 2)
    assert not tensors.sequences.any()
    codes = dict(zip([f.name for f in FEATURES if f.kind == "categorical"], tensors.categorical.T, strict=True))
    assert list(codes.pop("market_code")) == [1, 1]
    # The store's own instant, a Sunday: nobody has refreshed it for days.
    assert [list(codes.pop(name)) for name in ("hour", "weekday")] == [[AS_OF.hour + 1] * 2, [7] * 2]
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
    assert any((then[name] != now[name]).any() for name in ("item_exposures_7d", "clicked_items"))


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


def test_redis_serves_the_same_values(release: Path, tmp_path: Path, redis_address: str) -> None:
    build_online_store(release / "latest", tmp_path / "state", online=redis_address)
    assert not (tmp_path / "state" / "online_store" / "online.db").exists()
    assert_no_skew(OnlineFeatures(tmp_path / "state"), release / "features", ["i7", "nowhere", "i0"])


def test_releases_share_a_redis_and_read_their_own_rows(release: Path, tmp_path: Path, redis_address: str) -> None:
    """The second has older rows, which Redis would skip if the keys were the first's."""
    latest_slice(release / "features", AS_OF - timedelta(days=9), tmp_path / "earlier")
    states = tmp_path / "now", tmp_path / "then"
    build_online_store(release / "latest", states[0], redis_address, "b" * 12)
    build_online_store(tmp_path / "earlier", states[1], redis_address, "a" * 12)
    items = [f"i{i}" for i in range(30)]
    for state, tables in zip(states, ("latest", "earlier"), strict=True):
        build_online_store(tmp_path / tables if tables == "earlier" else release / tables, tmp_path / f"file-{tables}")
        shared, alone = OnlineFeatures(state), OnlineFeatures(tmp_path / f"file-{tables}")
        for user in USERS:
            found, wanted = (assemble(store.read(user, 0, "ID:bag", items)[0]) for store in (shared, alone))
            np.testing.assert_array_equal(found.numeric, wanted.numeric)
            np.testing.assert_array_equal(found.sequences, wanted.sequences)
