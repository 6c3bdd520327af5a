"""Feature tables against naive computations, and that no row knows what happened at or after its own time."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.features import SEQUENCE_LENGTH, VIEWS, Feature, stored_features
from components.contracts.markets import DOMAIN_CODES
from components.contracts.text import query_key, stable_bucket
from components.contracts.tools.manifest import read_manifest
from components.features.config import FeaturesConfig
from components.features.latest import latest_slice
from components.features.tables import REPORT, build_feature_tables
from tests.features.toy_log import AS_OF, MARKETS, write_toy_log

CONFIG = FeaturesConfig(ctr_prior=0.1, ctr_strength=20)
DAY = pd.Timedelta(days=1)
PUSHED_WITHIN = pd.Timedelta(seconds=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    log, scores = write_toy_log(root, requests=420)
    build_feature_tables(log, scores, CONFIG, AS_OF, root / "features")
    return root


def log_table(root: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(root / "log" / f"{name}.parquet")


def view(root: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(root / "features" / f"{name}.parquet")


def known_at(table: pd.DataFrame, key: str, value: str, when: pd.Timestamp) -> pd.Series | None:
    """The row a request at `when` sees: a naive point-in-time read."""
    rows = table[(table[key] == value) & (table["event_timestamp"] <= when)]
    return None if rows.empty else rows.sort_values("event_timestamp").iloc[-1]


def moments(root: Path, n: int, seed: int) -> list[pd.Timestamp]:
    """Random instants, instants of events, and midnights."""
    rng = np.random.default_rng(seed)
    spread = pd.Timestamp(AS_OF) - pd.to_timedelta(rng.integers(0, 40 * 86_400, n), unit="s")
    events = pd.DatetimeIndex(log_table(root, "events")["timestamp"].sample(n, random_state=seed))
    return [*spread, *events, *spread.floor("D")]


def within(frame: pd.DataFrame, midnight: pd.Timestamp, days: int) -> pd.DataFrame:
    return frame[(frame["timestamp"] >= midnight - days * DAY) & (frame["timestamp"] < midnight)]


def counted_at(when: pd.Timestamp) -> pd.Timestamp:
    """The midnight up to which counts are in a store at `when`: it takes half an hour to write them."""
    return (when - pd.Timedelta(minutes=30)).floor("D")


def logged(root: Path) -> dict[str, pd.DataFrame]:
    """Searches, exposures and events, with the keys of every view that counts them."""
    items = log_table(root, "items")[["item_id", "category", "brand"]].replace({"brand": ""}, None)
    requests = log_table(root, "requests")
    requests["query_key"] = [
        query_key(m, q) if isinstance(q, str) else None
        for m, q in zip(requests["market"], requests["query"], strict=True)
    ]
    shown = log_table(root, "candidates").dropna(subset="position").merge(requests, on="request_id").merge(items)
    of_request = requests[["request_id", "query_key"]]
    events = log_table(root, "events").merge(items).merge(of_request, on="request_id", how="left")
    return {"searches": requests[requests["domain"] == "search"], "exposures": shown, "events": events}


def counted(log: dict[str, pd.DataFrame], column: str) -> pd.DataFrame:
    """The rows that a count's name says, of any window."""
    if column in ("searches", "exposures"):
        return log[column]
    domain, _, kind = column.rpartition("_")
    events = log["events"][log["events"]["type"] == kind.removesuffix("s")]
    return events[events["domain"] == domain] if domain else events


PREFIXES = {
    "user_stats": "user", "item_stats": "item", "category_stats": "category", "query_stats": "query",
    "user_queries": "user_query", "user_categories": "user_category", "user_brands": "user_brand",
    "query_categories": "query_category", "query_items": "query_item",
}  # fmt: skip


@pytest.mark.parametrize("name", PREFIXES)
def test_every_count_equals_a_naive_count(toy: Path, name: str) -> None:
    table, log, keys = view(toy, name), logged(toy), list(VIEWS[name])
    counts = [f for f in stored_features(name) if isinstance(f, Feature) and f.unit == "count"]
    assert len(counts) >= 1
    entities = table[keys].drop_duplicates().reset_index(drop=True)
    positive = 0
    for i, when in enumerate(moments(toy, 20, seed=len(name))):
        entity = entities.loc[i * 7 % len(entities)]
        rows = table[(table[keys] == entity).all(axis=1) & (table["event_timestamp"] <= when)]
        midnight = counted_at(when)
        for feature in counts:
            column = feature.name.removeprefix(f"{PREFIXES[name]}_").removesuffix(f"_{feature.window}d")
            facts = counted(log, column)
            mine = within(facts[(facts[keys] == entity).all(axis=1)], midnight, feature.window)
            if rows.empty:
                assert mine.empty
            else:
                assert rows.sort_values("event_timestamp").iloc[-1][feature.name] == len(mine), feature.name
                positive += len(mine) > 0
    assert positive > 10


def test_rates_equal_naive_ones(toy: Path) -> None:
    log, stats = logged(toy), view(toy, "item_stats")
    clicks = log["events"][(log["events"]["type"] == "click") & log["events"]["request_id"].notna()]
    for i, when in enumerate(moments(toy, 20, seed=2)):
        row, midnight = known_at(stats, "item_id", f"i{i % 30}", when), counted_at(when)
        if row is None:
            continue
        answered = within(clicks[clicks["item_id"] == f"i{i % 30}"], midnight, 30)
        shown = within(log["exposures"][log["exposures"]["item_id"] == f"i{i % 30}"], midnight, 30)
        assert row["item_ctr_30d"] == np.float32((len(answered) + 0.1 * 20) / (len(shown) + 20))
        expected = sum(expectation(log, clicks, each) for each in shown.itertuples())
        assert row["item_coec_30d"] == pytest.approx((len(answered) + 2) / (expected + 2), rel=1e-5)
        of_item = log["events"][log["events"]["item_id"] == f"i{i % 30}"]
        month = within(of_item, midnight, 30)
        counts = month["type"].value_counts()
        cvr = (counts.get("purchase", 0) + 0.1 * 10) / (counts.get("click", 0) + 10)
        assert row["item_cvr_30d"] == np.float32(cvr)
        last = of_item[(of_item["type"] == "click") & (of_item["timestamp"] < midnight)]["timestamp"].max()
        assert row["item_clicked_at"] == (0 if pd.isna(last) else int(last.timestamp()))


def expectation(log: dict[str, pd.DataFrame], clicks: pd.DataFrame, shown: Any) -> float:
    """The click rate of an exposure's place, by what was shown and clicked there up to its day's end."""
    end = shown.timestamp.floor("D") + DAY
    places = log["exposures"]
    places = places[(places["domain"] == shown.domain) & (places["position"] == shown.position)]
    hits = clicks.assign(day=clicks["timestamp"].dt.floor("D")).drop_duplicates(["request_id", "item_id", "day"])
    hits = hits[hits["timestamp"] < end].merge(places[["request_id", "item_id"]], on=["request_id", "item_id"])
    return (len(hits) + 2) / ((places["timestamp"] < end).sum() + 20)


def test_a_query_s_rates_and_top_category_equal_naive_ones(toy: Path) -> None:
    stats, log = view(toy, "query_stats"), logged(toy)
    keys = sorted(log["searches"]["query_key"].unique())
    assert len(keys) == len({query_key(m, q) for m in MARKETS for q in ("red shoe", "เคสมือถือ", "bag", "kipas angin")})
    events = log["events"][log["events"]["query_key"].notna()]
    categories = 0
    for i, when in enumerate(moments(toy, 30, seed=3)):
        key = keys[i % len(keys)]
        row, midnight = known_at(stats, "query_key", key, when), counted_at(when)
        mine = log["searches"][log["searches"]["query_key"] == key]
        if mine["timestamp"].min() >= midnight:
            assert row is None, "a query is unknown until the counts of its first day are there"
            continue
        month = within(events[events["query_key"] == key], midnight, 30)
        clicks, purchases = month[month["type"] == "click"], month[month["type"] == "purchase"]
        shown = within(log["exposures"][log["exposures"]["query_key"] == key], midnight, 30)
        assert row["query_bucket"] == stable_bucket([key], 10_000)[0]
        assert row["query_ctr_30d"] == np.float32((len(clicks) + 0.1 * 20) / (len(shown) + 20))
        assert row["query_cvr_30d"] == np.float32((len(purchases) + 0.1 * 10) / (len(clicks) + 10))
        by_category = clicks["category"].value_counts()
        if by_category.empty:
            assert (row["query_top_category"], row["query_top_category_share_30d"]) == (0, 0)
        else:
            top = min(by_category[by_category == by_category.max()].index)
            assert row["query_top_category"] == stable_bucket([top], 1_000)[0]
            assert row["query_top_category_share_30d"] == np.float32(by_category.max() / len(clicks))
            categories += 1
    assert categories > 20


def test_a_user_s_price_is_the_mean_of_what_was_clicked(toy: Path) -> None:
    stats, events = view(toy, "user_stats"), logged(toy)["events"]
    clicks = events[events["type"] == "click"].merge(log_table(toy, "items")[["item_id", "price"]])
    none = 0
    for i, when in enumerate(moments(toy, 20, seed=6)):
        row = known_at(stats, "user_id", f"u{i % 12}", when)
        mine = within(clicks[clicks["user_id"] == f"u{i % 12}"], counted_at(when), 30)
        if row is None or mine.empty:
            none += row is not None and bool(np.isnan(row["user_price_log_30d"]))
            assert row is None or np.isnan(row["user_price_log_30d"])
        else:
            assert row["user_price_log_30d"] == pytest.approx(np.log1p(mine["price"]).mean(), abs=1e-5)


def test_users_and_items_are_unknown_until_the_run_after_their_first_act(toy: Path) -> None:
    requests, events = log_table(toy, "requests"), log_table(toy, "events")
    candidates = log_table(toy, "candidates").merge(requests, on="request_id")
    for name, key, acts in (("user_profile", "user_id", requests), ("item_profile", "item_id", candidates)):
        first = pd.concat([acts[[key, "timestamp"]], events[[key, "timestamp"]]]).groupby(key)["timestamp"].min()
        profile = view(toy, name).set_index(key)
        known_from = first.dt.floor("h") + pd.Timedelta(hours=1, minutes=30)
        assert profile["event_timestamp"].tolist() == known_from.loc[profile.index].tolist()
        seen = profile[f"{name.split('_')[0]}_seen_at"]
        assert (seen == first.loc[profile.index].astype("int64") // 1_000_000).all()


def test_sequences_equal_a_naive_history(toy: Path) -> None:
    sequences, events = view(toy, "user_sequences"), log_table(toy, "events")
    items = view(toy, "item_profile").set_index("item_id")
    longest = 0
    for i, when in enumerate([*moments(toy, 40, seed=4), pd.Timestamp(AS_OF)]):
        user = f"u{i % 12}" if i < 120 else events["user_id"].mode()[0]
        row = known_at(sequences, "user_id", user, when)
        past = events[(events["user_id"] == user) & (events["timestamp"] < when - PUSHED_WITHIN)]
        if past[past["type"] != "cart"].empty:
            assert row is None
            continue
        past = past.sort_values(["timestamp", "event_id"], ascending=False)
        for kind, prefix in (("click", "clicked"), ("purchase", "purchased")):
            newest = past[past["type"] == kind][:SEQUENCE_LENGTH]
            longest = max(longest, len(newest))
            assert list(row[f"{prefix}_items"]) == list(items.loc[newest["item_id"], "item_bucket"])
            assert list(row[f"{prefix}_categories"]) == list(items.loc[newest["item_id"], "category_bucket"])
            assert list(row[f"{prefix}_domains"]) == [DOMAIN_CODES[domain] + 1 for domain in newest["domain"]]
            assert list(row[f"{prefix}_at"]) == [int(moment.timestamp()) for moment in newest["timestamp"]]
    assert longest == SEQUENCE_LENGTH, "the toy log must reach the cut"


def test_searched_queries_equal_a_naive_history(toy: Path) -> None:
    searches, table = logged(toy)["searches"], view(toy, "user_searches")
    known = 0
    for i, when in enumerate(moments(toy, 40, seed=5)):
        row = known_at(table, "user_id", f"u{i % 12}", when)
        begun = (when - pd.Timedelta(minutes=30)).floor("h")  # of the newest run that has been written
        past = searches[(searches["user_id"] == f"u{i % 12}") & (searches["timestamp"] < begun)]
        if past.empty:
            assert row is None
            continue
        newest = past.sort_values(["timestamp", "request_id"], ascending=False)[:SEQUENCE_LENGTH]
        assert list(row["searched_queries"]) == list(stable_bucket(newest["query_key"], 10_000))
        assert list(row["searched_at"]) == [int(moment.timestamp()) for moment in newest["timestamp"]]
        known += 1
    assert known > 20


def test_rows_do_not_change_when_the_future_is_taken_away(toy: Path, tmp_path: Path) -> None:
    cut = AS_OF - timedelta(days=11, hours=5)
    (tmp_path / "log").mkdir()
    requests, events = log_table(toy, "requests"), log_table(toy, "events")
    requests, events = requests[requests["timestamp"] < cut], events[events["timestamp"] < cut]
    candidates = log_table(toy, "candidates")
    candidates = candidates[candidates["request_id"].isin(requests["request_id"])]
    past = {"requests": requests, "events": events, "candidates": candidates}
    past |= {name: log_table(toy, name) for name in ("items", "users")}
    for name, frame in past.items():
        frame.to_parquet(tmp_path / "log" / f"{name}.parquet", index=False)
    (tmp_path / "log" / "manifest.json").write_text((toy / "log" / "manifest.json").read_text())
    build_feature_tables(tmp_path / "log", toy / "scores", CONFIG, AS_OF, tmp_path / "features")
    for name in VIEWS:
        whole, without = view(toy, name), view(tmp_path, name)
        pd.testing.assert_frame_equal(
            whole[whole["event_timestamp"] <= cut].reset_index(drop=True),
            without[without["event_timestamp"] <= cut].reset_index(drop=True),
        )


def test_nothing_is_later_than_as_of(toy: Path, tmp_path: Path) -> None:
    cut = AS_OF - timedelta(days=11, hours=5)
    build_feature_tables(toy / "log", toy / "scores", CONFIG, cut, tmp_path / "features")
    for name in VIEWS:
        whole = view(toy, name)
        expected = whole[whole["event_timestamp"] <= cut].reset_index(drop=True)
        pd.testing.assert_frame_equal(view(tmp_path, name), expected)


def test_an_event_is_invisible_at_its_own_instant(toy: Path) -> None:
    sequences = view(toy, "user_sequences")
    events = log_table(toy, "events")
    moments = set(zip(events["user_id"], events["timestamp"], strict=True))
    assert not moments & set(zip(sequences["user_id"], sequences["event_timestamp"], strict=True))
    just_after = sequences["event_timestamp"] - PUSHED_WITHIN - pd.Timedelta(microseconds=1)
    assert set(zip(sequences["user_id"], just_after, strict=True)) <= moments


def test_files_have_the_contract_s_columns_and_one_row_a_key_and_time(toy: Path) -> None:
    types = {"numeric": pa.float32(), "categorical": pa.int64(), "sequence": pa.list_(pa.int64())}
    types |= {"time": pa.int64(), "text": pa.string()}
    for name, keys in VIEWS.items():
        table = pq.read_table(toy / "features" / f"{name}.parquet")
        assert table.column_names == [*keys, *(f.name for f in stored_features(name)), "event_timestamp"]
        assert table.schema.field("event_timestamp").type == pa.timestamp("us", tz="UTC")
        for feature in stored_features(name):
            assert table.schema.field(feature.name).type == types[feature.kind]
            assert table[feature.name].null_count == 0
        assert not table.to_pandas().duplicated([*keys, "event_timestamp"]).any()


def test_profiles(toy: Path) -> None:
    profile = view(toy, "item_profile").set_index("item_id")
    items = log_table(toy, "items").set_index("item_id").loc[profile.index]
    assert list(profile["item_bucket"]) == list(stable_bucket(profile.index, 20_000))
    assert list(profile["category_bucket"]) == list(stable_bucket(items["category"], 1_000))
    named = items["brand"].fillna("") != ""
    assert (profile.loc[~named, "brand_bucket"] == 0).all()
    assert (profile.loc[named, "brand_bucket"] == stable_bucket(["Acme"], 5_000)[0]).all()
    np.testing.assert_allclose(profile["price_log"], np.log1p(items["price"]), rtol=1e-6)
    for item_id, item in items.iterrows():
        peers = items[(items["market"] == item["market"]) & (items["category"] == item["category"])]["price"]
        others = len(peers) - 1
        below, above = (peers < item["price"]).sum(), (peers > item["price"]).sum()
        expected = 0.5 if others == 0 else (below / others + 1 - above / others) / 2
        assert profile.loc[item_id, "price_in_category"] == pytest.approx(expected, abs=1e-6)
    assert set(view(toy, "user_profile")["user_id"]) == set(log_table(toy, "users")["user_id"])


def test_relevance_is_keyed_by_the_query_key_and_holds_at_any_time(toy: Path) -> None:
    scores = pd.read_parquet(toy / "scores" / "scores.parquet")
    keys = [query_key(m, q) for m, q in zip(scores["market"], scores["query"], strict=True)]
    expected = dict(zip(zip(keys, scores["item_id"], strict=True), scores["relevance"], strict=True))
    stored = view(toy, "relevance")
    assert dict(zip(zip(stored["query_key"], stored["item_id"], strict=True), stored["relevance"], strict=True)) == (
        expected
    )
    assert stored["event_timestamp"].max() < log_table(toy, "requests")["timestamp"].min()


def test_the_latest_slice_is_the_newest_row_a_key(toy: Path, tmp_path: Path) -> None:
    as_of = datetime(2026, 2, 12, 7, tzinfo=UTC)
    latest_slice(toy / "features", as_of, tmp_path / "latest")
    for name, keys in VIEWS.items():
        whole = view(toy, name)
        known = whole[whole["event_timestamp"] <= as_of].sort_values("event_timestamp")
        expected = known.drop_duplicates(list(keys), keep="last").sort_values(list(keys)).reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "latest" / f"{name}.parquet"), expected)
    assert read_manifest(tmp_path / "latest")["as_of"] == as_of.isoformat()


def test_the_same_log_gives_the_same_digest_in_any_time_zone(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Bangkok")
        time.tzset()
        build_feature_tables(toy / "log", toy / "scores", CONFIG, AS_OF, tmp_path / "features")
    time.tzset()
    assert read_manifest(tmp_path / "features")["digest"] == read_manifest(toy / "features")["digest"]


def test_the_report_says_that_data_is_simulated(toy: Path) -> None:
    page = (toy / "features" / REPORT).read_text(encoding="utf-8")
    assert "Simulated data." in page
    for feature in ("item_ctr_30d", "clicked_items", "relevance"):
        assert feature in page


@pytest.mark.parametrize("fault", ["missing file", "missing column", "truncated", "ancient"])
def test_a_broken_log_is_named_and_leaves_nothing(toy: Path, tmp_path: Path, fault: str) -> None:
    log = tmp_path / "log"
    log.mkdir()
    for path in (toy / "log").iterdir():
        (log / path.name).write_bytes(path.read_bytes())
    events = log / "events.parquet"
    if fault == "missing file":
        events.unlink()
    elif fault == "missing column":
        pd.read_parquet(events).drop(columns="domain").to_parquet(events)
    elif fault == "truncated":
        events.write_bytes(events.read_bytes()[:100])
    else:
        frame = pd.read_parquet(events)
        frame.loc[0, "timestamp"] = pd.Timestamp("1999-12-31", tz="UTC")
        frame.to_parquet(events)
    with pytest.raises(BadInput, match=r"events\.parquet"):
        build_feature_tables(log, toy / "scores", CONFIG, AS_OF, tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_the_component_reads_its_arguments_as_kfp_gives_them(toy: Path, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from components.features.component import build_features

    places = {name: SimpleNamespace(path=str(toy / name)) for name in ("log", "scores")}
    outputs = {name: SimpleNamespace(path=str(tmp_path / name), metadata={}) for name in ("features", "report")}
    build_features.python_func(**places, **outputs, config=CONFIG.structure, as_of=AS_OF.isoformat())
    assert (tmp_path / "report").read_bytes() == (tmp_path / "features" / REPORT).read_bytes()
    assert outputs["features"].metadata["rows"] == read_manifest(toy / "features")["metrics"]["rows"]
    assert read_manifest(tmp_path / "features")["digest"] == read_manifest(toy / "features")["digest"]
