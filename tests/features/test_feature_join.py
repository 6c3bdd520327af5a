"""The point-in-time join: what a row may see, and that no row is lost, repeated or moved."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.engine import EngineConfig, open_engine
from components.contracts.errors import BadInput
from components.contracts.features import FEATURE_SERVICE, FEATURES, Feature, assemble, stored_features
from components.contracts.request_time import complete
from components.contracts.schemas import SAMPLES
from components.contracts.tables import write_table
from components.contracts.tools.manifest import read_manifest
from components.contracts.training_set import ALL_COLUMNS, TRAINING_SET, read_training_rows, stated_features
from components.features import join, point_in_time
from components.features.config import FeaturesConfig
from components.features.join import join_rows, join_training_set
from components.features.tables import build_feature_tables
from feature_repo.store import connect, open_store
from tests.features.feast_join import service_references
from tests.features.sample_rows import write_samples
from tests.features.toy_log import AS_OF, MARKETS, write_toy_log
from tests.features.view_tables import write_views

NOON = pd.Timestamp("2026-02-10 12:00", tz="UTC")
TICK = pd.Timedelta(microseconds=1)


def request(when: pd.Timestamp, user: str = "u1", item: str = "i1", query: str = "Red  SHOE") -> dict:
    return {"user_id": user, "item_id": item, "market": "TH", "query": query, "domain": "search", "timestamp": when}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = [(NOON - pd.Timedelta(days=9), 1.0), (NOON, 2.0), (NOON + TICK, 3.0), (NOON + pd.Timedelta(days=9), 4.0)]
    return write_views(
        tmp_path_factory.mktemp("tables"),
        user_profile=[{"user_id": "u1", "user_bucket": 7, "event_timestamp": NOON - pd.Timedelta(days=99)}],
        user_stats=[{"user_id": "u1", "user_search_clicks_7d": n, "event_timestamp": t} for t, n in counts],
        item_stats=[{"item_id": "i1", "item_search_clicks_7d": n, "event_timestamp": t} for t, n in counts],
        user_sequences=[
            {"user_id": "u1", "clicked_items": [5, 6], "purchased_items": [], "event_timestamp": NOON + TICK}
        ],
        relevance=[
            {"query_key": "TH:red shoe", "item_id": "i1", "relevance": 0.25, "event_timestamp": counts[0][0]},
            {"query_key": "ID:red shoe", "item_id": "i1", "relevance": 0.75, "event_timestamp": counts[0][0]},
        ],
    )


def test_a_row_sees_the_newest_value_at_its_time_and_never_a_later_one(tables: Path) -> None:
    times = [NOON - pd.Timedelta(days=10), NOON - TICK, NOON, NOON + TICK, NOON + 2 * TICK, NOON + pd.Timedelta(days=8)]
    joined = join_rows(tables, pd.DataFrame([request(t) for t in times]), MARKETS)
    expected = [np.nan, 1.0, 2.0, 3.0, 3.0, 3.0]
    np.testing.assert_array_equal(joined["user_search_clicks_7d"], expected)
    np.testing.assert_array_equal(joined["item_search_clicks_7d"], expected)
    assert [list(x) for x in joined["clicked_items"]] == [[]] * 3 + [[5, 6]] * 3
    assert [len(x) for x in joined["purchased_items"][3:]] == [0] * 3


def test_unknown_entities_keep_their_rows(tables: Path) -> None:
    rows = [
        request(NOON),
        request(NOON, user="new"),
        request(NOON, item="new"),
        request(NOON, query="new"),
        request(NOON, query=None),
    ]
    joined = join_rows(tables, pd.DataFrame(rows), MARKETS)
    assert list(joined["user_known"]) == [True, False, True, True, True]
    np.testing.assert_array_equal(joined["user_search_clicks_7d"], [2, np.nan, 2, 2, 2])
    np.testing.assert_array_equal(joined["item_search_clicks_7d"], [2, 2, np.nan, 2, 2])
    np.testing.assert_array_equal(joined["relevance"], [0.25, 0.25, np.nan, np.nan, np.nan])
    tensors = assemble(joined)
    assert tensors.categorical[1, 0] == 0
    assert not tensors.sequences.any()


def test_rows_keep_their_order_index_columns_and_repetitions(tables: Path) -> None:
    rng = np.random.default_rng(0)
    times = NOON + pd.to_timedelta(rng.integers(-20, 20, 500), unit="D")
    rows = pd.DataFrame([request(t) for t in times])
    rows["note"] = rng.permutation(500)
    rows = pd.concat([rows, rows[:200], rows[:1]]).sample(frac=1, random_state=0)
    joined = join_rows(tables, rows, MARKETS)
    pd.testing.assert_frame_equal(joined[list(rows.columns)], rows)
    assert list(joined.columns) == [*rows.columns, *(f.name for f in FEATURES), "user_known"]
    days = (rows["timestamp"] - NOON) / pd.Timedelta(days=1)
    expected = np.select([days < -9, days < 0, days < 1, days < 9], [np.nan, 1, 2, 3], 4)
    np.testing.assert_array_equal(joined["user_search_clicks_7d"], expected)


def test_request_features_follow_the_market_s_and_domain_s_codes(tables: Path) -> None:
    rows = pd.DataFrame([request(NOON), request(NOON) | {"market": "ID"}, request(NOON) | {"domain": "shop"}])
    joined = join_rows(tables, rows, ("ID", "TH"))
    assert list(joined["market_code"]) == [1, 0, 1]
    assert list(joined["domain_code"]) == [0, 0, 2]
    assert list(joined["relevance"]) == [0.25, 0.75, 0.25]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"market": "XX"}, "column market: 'XX' in 1 of 2 rows"),
        ({"domain": "ads"}, "column domain: 'ads' in 1 of 2 rows"),
    ],
)
def test_unknown_markets_and_domains_are_refused(tables: Path, change: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        join_rows(tables, pd.DataFrame([request(NOON), request(NOON) | change]), MARKETS)


def test_missing_columns_and_empty_input_are_refused(tables: Path) -> None:
    rows = pd.DataFrame([request(NOON)])
    with pytest.raises(BadInput, match="missing column domain"):
        join_rows(tables, rows.drop(columns="domain"), MARKETS)
    with pytest.raises(BadInput, match="0 rows"):
        join_rows(tables, rows[:0], MARKETS)


@pytest.mark.parametrize("a_shard", [200, 500_000])
def test_a_training_set_is_the_samples_with_their_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_shard: int
) -> None:
    monkeypatch.setattr(join, "_CANDIDATES_A_SHARD", a_shard)
    log, scores = write_toy_log(tmp_path, requests=80)
    build_feature_tables(log, scores, FeaturesConfig(), AS_OF, tmp_path / "features")
    samples = write_samples(tmp_path / "samples", log)
    join_training_set(tmp_path / "features", log, tmp_path / "samples", FeaturesConfig(), tmp_path / "training")

    file = tmp_path / "training" / TRAINING_SET
    assert pq.ParquetFile(file).num_row_groups == (1 if a_shard > len(samples) else -(-len(samples) // a_shard))
    rows = read_training_rows(file)
    key = ["request_id", "item_id"]
    got = rows.table(ALL_COLUMNS).to_pandas()
    expected = got[key].merge(join_rows(tmp_path / "features", samples, MARKETS), on=key)
    for name in SAMPLES.columns:
        if name != "sample_id":
            pd.testing.assert_series_equal(got[name], expected[name], check_dtype=False)
    assert len(got) == len(samples)
    codes = stated_features(rows.requests, MARKETS, "test")
    stored = {name: got[name].to_numpy() for name in got}
    stored |= {name: values.to_numpy()[rows.request] for name, values in codes.items()}
    ours = assemble(complete(stored, got["timestamp"].to_numpy("datetime64[s]").astype(np.int64)))
    theirs = assemble({f.name: expected[f.name].to_numpy() for f in FEATURES})
    for part in ("numeric", "categorical", "sequences"):
        np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))
    # A request of one query is one row; within a part they lie by user and time.
    assert rows.requests.num_rows == len(samples[["request_id", "query"]].drop_duplicates())
    manifest = read_manifest(tmp_path / "training")
    assert manifest["simulated"] is True
    known = manifest["metrics"].pop("known_users")
    assert manifest["metrics"] == {"requests": rows.requests.num_rows, "rows": len(samples)}
    assert known == pytest.approx(got["user_known"].mean())
    assert 0.5 < known < 1, "in a user's first hour, only the log knows of it"


def test_the_join_refuses_samples_that_break_their_contract(tmp_path: Path) -> None:
    log, scores = write_toy_log(tmp_path, requests=40)
    build_feature_tables(log, scores, FeaturesConfig(), AS_OF, tmp_path / "features")
    samples = write_samples(tmp_path / "samples", log)
    twice = pd.concat([samples, samples[:3]])[list(SAMPLES.columns)]
    write_table(pa.Table.from_pandas(twice, preserve_index=False), tmp_path / "samples" / "samples.parquet")
    with pytest.raises(BadInput, match="duplicate ids in 3 of"):
        join_training_set(tmp_path / "features", log, tmp_path / "samples", FeaturesConfig(), tmp_path / "training")
    assert not (tmp_path / "training").exists()


def test_a_missing_view_is_named(tmp_path: Path, tables: Path) -> None:
    for path in tables.glob("*.parquet"):
        if path.stem != "item_stats":
            shutil.copyfile(path, tmp_path / path.name)
    with pytest.raises(BadInput, match=r"no file item_stats\.parquet"):
        join_rows(tmp_path, pd.DataFrame([request(NOON)]), MARKETS)


def test_the_feature_service_of_the_model_version_lists_every_stored_feature(tables: Path, tmp_path: Path) -> None:
    store = open_store(tables, tmp_path / "registry.db", tmp_path / "online.db")
    assert [service.name for service in store.list_feature_services()] == [FEATURE_SERVICE]
    assert sorted(service_references(store)) == sorted(f"{f.view}:{f.name}" for f in stored_features())


@pytest.mark.parametrize(
    ("address", "connection"),
    [
        ("redis://cache:6380/2", "cache:6380,db=2"),
        ("rediss://me:s%40crt@cache", "cache:6379,db=0,ssl=true,username=me,password=s@crt"),
    ],
)
def test_a_redis_address_becomes_feast_s_connection_string(tmp_path: Path, address: str, connection: str) -> None:
    config = connect(tmp_path / "registry.db", address).config
    assert config.online_store.type == "redis"
    assert config.online_store.connection_string == connection


def test_an_online_store_of_another_kind_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mysql://db: expected") as refusal:
        connect(tmp_path / "registry.db", "mysql://me:secret@db/feast")
    assert "secret" not in str(refusal.value)


def test_a_view_may_be_keyed_by_what_another_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        point_in_time, "VIEWS", {"user_categories": ("user_id", "category_bucket"), "item_profile": ("item_id",)}
    )
    stored = {"user_categories": (Feature("liked", "user_categories", "user", "numeric"),)}
    stored["item_profile"] = (Feature("category_bucket", "item_profile", "item", "categorical"),)
    monkeypatch.setattr(point_in_time, "stored_features", stored.get)
    always = {"valid_from": NOON - TICK, "valid_until": NOON + TICK}
    with open_engine(EngineConfig()) as engine:
        views = {
            "user_categories": pd.DataFrame([{"user_id": "u", "category_bucket": 3, "liked": 0.5} | always]),
            "item_profile": pd.DataFrame([{"item_id": f"i{c}", "category_bucket": c} | always for c in (3, 4)]),
        }
        tables = {name: engine.load(name, pa.Table.from_pandas(frame)) for name, frame in views.items()}
        rows = pd.DataFrame([{"user_id": "u", "item_id": item, "timestamp": NOON} for item in ("i3", "i4", "i5")])
        joined = point_in_time.with_features(engine.load("rows", pa.Table.from_pandas(rows)), tables)
        found = joined.order_by("item_id").select("category_bucket", "liked").to_pandas()
    np.testing.assert_array_equal(found["category_bucket"], [3, 4, np.nan])
    np.testing.assert_array_equal(found["liked"], [0.5, np.nan, np.nan])
