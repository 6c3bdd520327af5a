"""The simulated log keeps the contract, and is the same whenever and in whatever order it is made."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.contracts.errors import BadInput
from components.contracts.markets import DOMAINS, MARKETS
from components.contracts.schemas import LOG_TABLES, ORACLE
from components.contracts.tables import Limits, read_log, read_table
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import read_manifest, tree_digest
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate, simulate_market
from tests.marketplace.small_world import AS_OF, SMALL


@pytest.fixture(scope="module")
def log(small_log: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pq.read_table(path).to_pandas() for path in small_log.glob("*.parquet")}


def test_log_keeps_the_contract(small_log: Path) -> None:
    tables = read_log(small_log, Limits(as_of=AS_OF))
    assert set(tables["items"]["market"].to_pylist()) == set(MARKETS)
    assert set(tables["requests"]["domain"].to_pylist()) == set(DOMAINS)
    oracle = read_table(small_log / "oracle.parquet", ORACLE)
    assert oracle.num_rows == SMALL.search_requests * SMALL.candidates * len(MARKETS)


def test_manifest_says_what_it_is(small_log: Path) -> None:
    manifest = read_manifest(small_log)
    assert manifest["kind"] == "log"
    assert manifest["simulated"] is True
    assert manifest["markets"] == list(MARKETS)
    assert manifest["as_of"] == AS_OF.isoformat()
    assert manifest["config"] == SMALL.model_dump(mode="json")
    assert manifest["run"]["peak_rss_mb"] > 0
    for schema in LOG_TABLES:
        assert (
            manifest["metrics"]["rows"][schema.name] == pq.read_metadata(small_log / f"{schema.name}.parquet").num_rows
        )


def test_same_seed_gives_the_same_bytes(small_log: Path, tmp_path: Path) -> None:
    simulate(SMALL, AS_OF, tmp_path / "again")
    assert tree_digest(tmp_path / "again") == tree_digest(small_log)


def test_another_seed_gives_another_log(small_log: Path, tmp_path: Path) -> None:
    simulate(SMALL.model_copy(update={"seed": 8}), AS_OF, tmp_path / "other")
    assert pq.read_table(tmp_path / "other" / "items.parquet") != pq.read_table(small_log / "items.parquet")


def test_neither_order_nor_choice_of_markets_matters(small_log: Path, tmp_path: Path) -> None:
    simulate(SMALL.model_copy(update={"markets": ("VN", "ID")}), AS_OF, tmp_path / "two")
    assert read_manifest(tmp_path / "two")["markets"] == ["VN", "ID"]
    for name, column in (("items", "item_id"), ("events", "event_id"), ("candidates", "request_id")):
        two = pq.read_table(tmp_path / "two" / f"{name}.parquet").to_pandas()
        six = pq.read_table(small_log / f"{name}.parquet").to_pandas()
        shared = six[six[column].str[:2].isin(["ID", "VN"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(two, shared)


def test_as_of_moves_the_log_in_time_and_nothing_else() -> None:
    week = timedelta(days=7)
    now, later = (simulate_market(SMALL, moment, "TH") for moment in (AS_OF, AS_OF + week))
    assert now["items"].equals(later["items"])
    moved = later["requests"].to_pandas()
    moved["timestamp"] -= week
    pd.testing.assert_frame_equal(now["requests"].to_pandas(), moved)


def test_naive_as_of_is_utc() -> None:
    naive = simulate_market(SMALL, datetime(2026, 3, 1), "SG")
    assert naive["events"].equals(simulate_market(SMALL, AS_OF, "SG")["events"])


def test_ids_are_unique_across_markets(log: dict[str, pd.DataFrame]) -> None:
    for table, key in (("items", "item_id"), ("users", "user_id"), ("requests", "request_id"), ("events", "event_id")):
        assert log[table][key].is_unique


def test_pages_show_a_prefix_of_the_full_list(log: dict[str, pd.DataFrame]) -> None:
    lists = log["candidates"].merge(log["requests"], on="request_id").groupby(["domain", "request_id"])["position"]
    shown, total = lists.count(), lists.size()
    assert (lists.max() == shown).all(), "positions run 1, 2, ... without gaps"
    assert (lists.nunique() == shown).all()
    assert shown["search"].between(SMALL.page_size - 2, SMALL.page_size).all()
    assert (total["search"] == SMALL.candidates).all()
    assert (total > shown).mean() > 0.9, "nearly every list has unexposed candidates"
    assert (shown >= 1).all()


def test_each_query_has_one_fixed_pool(log: dict[str, pd.DataFrame]) -> None:
    searches = log["requests"].query("domain == 'search'").merge(log["candidates"], on="request_id")
    keys = searches["market"] + ":" + searches["query"].map(normalise_query)
    assert (searches.groupby(keys)["item_id"].nunique() == SMALL.candidates).all()
    pools = set(zip(keys, searches["item_id"], strict=True))
    judged = log["judgments"]
    judged_keys = judged["market"] + ":" + judged["query"].map(normalise_query)
    every = pools | set(zip(judged_keys, judged["item_id"], strict=True))
    assert len(every) <= SMALL.queries * SMALL.candidates * len(MARKETS)


def test_laptop_profile_stays_within_its_budgets() -> None:
    config = MarketplaceConfig()
    assert len(config.markets) * config.queries * config.candidates <= 5000
    tables = simulate_market(config, AS_OF, "MY")
    assert {name: table.num_rows for name, table in tables.items() if name in ("items", "users", "judgments")} == {
        "items": 200,
        "users": 420,
        "judgments": 400,
    }
    queries = {normalise_query(query) for query in tables["judgments"]["query"].to_pylist()}
    assert len(queries) == config.queries


def test_events_follow_from_what_was_shown(log: dict[str, pd.DataFrame]) -> None:
    events = log["events"]
    native = events[events["request_id"].notna()].merge(log["requests"], on="request_id", suffixes=("", "_request"))
    assert (native["user_id"] == native["user_id_request"]).all()
    assert (native["domain"] == native["domain_request"]).all()
    assert (native["timestamp"] > native["timestamp_request"]).all()
    shown = log["candidates"].dropna(subset="position")
    assert len(native.merge(shown, on=["request_id", "item_id"])) == len(native), "only exposed items get native events"


def test_carts_and_purchases_come_after_a_click(log: dict[str, pd.DataFrame]) -> None:
    events = log["events"].query("request_id.notna()", engine="python")
    clicks = events.query("type == 'click'").set_index(["request_id", "item_id"])["timestamp"]
    assert clicks.index.is_unique
    for later in ("cart", "purchase"):
        rows = events[events["type"] == later].set_index(["request_id", "item_id"])["timestamp"]
        waited = rows - clicks.loc[rows.index]
        assert (waited >= pd.Timedelta(0)).all()
        assert (waited <= pd.Timedelta(days=3)).all()


def test_conversions_elsewhere_follow_a_search_that_had_the_item(log: dict[str, pd.DataFrame]) -> None:
    events = log["events"]
    without = events[events["request_id"].isna() & (events["type"] == "click")]
    assert len(without) > 50
    assert set(without["domain"]) == {"rec", "shop"}
    searches = log["requests"].query("domain == 'search'").merge(log["candidates"], on="request_id")
    pairs = without.merge(searches, on=["user_id", "item_id"], suffixes=("", "_search"))
    waited = pairs["timestamp"] - pairs["timestamp_search"]
    recent = pairs[(waited > pd.Timedelta(0)) & (waited <= pd.Timedelta(days=3))]
    assert set(recent["event_id"]) == set(without["event_id"])
    tiers = recent.groupby("event_id")["position"].agg(lambda positions: positions.notna().any())
    assert 0.2 < tiers.mean() < 1, "some wanted items had been exposed in search, some had not"


def test_all_domains_have_all_kinds_of_events(log: dict[str, pd.DataFrame]) -> None:
    counts = log["events"].groupby(["domain", "type"]).size()
    assert len(counts) == 9
    assert (counts > 10).all()


def test_queries_are_stated_in_search_alone(log: dict[str, pd.DataFrame]) -> None:
    stated = log["requests"].groupby("domain")["query"].apply(lambda queries: queries.notna().mean())
    assert stated.to_dict() == {"search": 1.0, "rec": 0.0, "shop": 0.0}


def test_shops_sell_their_own(log: dict[str, pd.DataFrame]) -> None:
    shops = log["requests"].query("domain == 'shop'").merge(log["candidates"], on="request_id")
    sellers = shops.merge(log["items"], on="item_id").groupby("request_id")["seller_id"].nunique()
    assert (sellers == 1).all()


def test_requests_fill_the_days(log: dict[str, pd.DataFrame]) -> None:
    times = log["requests"]["timestamp"]
    assert times.min() >= AS_OF - timedelta(days=SMALL.days)
    assert times.max() < AS_OF
    assert times.dt.floor("D").nunique() == SMALL.days
    hours = log["requests"].query("market == 'VN'")["timestamp"].dt.tz_convert("Asia/Ho_Chi_Minh").dt.hour
    assert (hours.between(19, 22)).mean() > 3 * (hours.between(2, 5)).mean(), "evenings are busier than nights"


def test_prices_and_grades_are_sane(log: dict[str, pd.DataFrame]) -> None:
    assert (log["items"]["price"] > 0).all()
    assert set(log["judgments"]["grade"]) <= {0.0, 0.33, 0.67, 1.0}
    assert np.isfinite(log["oracle"]["utility"]).all()


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.marketplace.simulator.queries._TRIES", 0)
    with pytest.raises(BadInput, match="distinct queries"):
        simulate(SMALL, AS_OF, tmp_path / "log")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"markets": ("ID", "XX")},
        {"markets": ("ID", "ID")},
        {"markets": ()},
        {"page_size": 21},
        {"judgments": 21},
        {"candidates": 201},
        {"drift": 1.5},
        {"itmes": 10},
        {"search_requests": 0},
    ],
)
def test_config_refuses_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MarketplaceConfig.model_validate(wrong)


def test_config_survives_json() -> None:
    assert MarketplaceConfig.model_validate_json(SMALL.model_dump_json()) == SMALL


@pytest.mark.parametrize(
    "extreme",
    [
        {"items": 24, "users": 2, "queries": 1, "candidates": 4, "page_size": 3, "judgments": 1, "search_requests": 1,
         "rec_requests": 1, "shop_requests": 1, "days": 1},
        {"elsewhere": 0.0, "policy_utility": 0.0, "domain_shift": 0.0},
        {"elsewhere": 1.0, "elsewhere_noise": 1.0, "policy_utility": 1.0, "domain_shift": 1.0, "annotator_noise": 1.0},
        {"drift": 1.0, "drift_days": 100.0},
        {"drift": 1.0, "drift_days": 0.001},
        {"candidates": 72, "page_size": 72, "judgments": 72},
    ],
)  # fmt: skip
def test_extreme_dials_still_give_a_valid_log(extreme: dict[str, object], tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"markets": ("PH",), "search_requests": 100, **extreme})
    simulate(MarketplaceConfig.model_validate(config.model_dump()), AS_OF, tmp_path / "log")
    read_log(tmp_path / "log", Limits(as_of=AS_OF))
