"""Whatever the dials say, the log keeps the contract and contradicts itself nowhere."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.schemas import LOG_TABLES, ORACLE
from components.contracts.tables import Limits, check_references, validate
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate_market
from tests.marketplace.small_world import AS_OF

SHARES = ("policy_utility", "domain_shift", "elsewhere", "elsewhere_noise", "drift", "typos", "cart", "slow_purchase")
SHARES += ("cart_before_purchase", "direct", "direct_purchase", "direct_rec", "follow_up", "rec_want", "shop_want")
SIZES = ("user_spread", "popularity_spread", "query_exponent", "query_taste", "retrieval_weight", "retrieval_noise")
SIZES += ("retrieval_jitter", "policy_noise", "position_decay", "want_appeal", "shop_taste", "quality_weight")


@st.composite
def worlds(draw: Any) -> MarketplaceConfig:
    """Small worlds with any dials, the unreasonable ones too."""
    days = draw(st.integers(1, 30))
    chosen: dict[str, Any] = {
        "seed": draw(st.integers(0, 1000)),
        "days": days,
        "items": draw(st.integers(24, 60)),
        "users": draw(st.integers(2, 40)),
        "queries": draw(st.integers(1, 12)),
        "candidates": draw(st.integers(4, 12)),
        "page_size": draw(st.integers(3, 4)),
        "judgments": draw(st.integers(1, 4)),
        "pool": draw(st.floats(1, 2)),
        "search_requests": draw(st.integers(1, 120)),
        "rec_requests": draw(st.integers(1, 80)),
        "shop_requests": draw(st.integers(1, 80)),
        "wants": draw(st.integers(1, 4)),
        "rec_wants": draw(st.integers(1, 4)),
        "weekend": draw(st.sampled_from((1.0, 0.01, 30.0))),
        "sale_days": draw(st.sets(st.integers(1, days), max_size=3).map(tuple)),
        "sale_traffic": draw(st.floats(0.01, 50)),
        "session_searches": draw(st.floats(1, 40)),
        "session_pause": draw(st.floats(0.01, 3000)),
        "drift_days": draw(st.floats(0.01, 40)),
        "want_days": draw(st.floats(0.01, 40)),
        "repeat": draw(st.floats(0, 0.5)),
        "refine": draw(st.floats(0, 0.5)),
    }
    chosen |= {name: draw(st.floats(0, 0.8)) for name in ("new_users", "new_items", "new_queries")}
    chosen |= {name: draw(st.floats(0, 1)) for name in SHARES}
    chosen |= {name: draw(st.one_of(st.floats(0, 8), st.just(100.0))) for name in SIZES}
    chosen |= {
        name: draw(st.floats(-8, 8)) for name in ("search_bias", "browse_bias", "purchase_bias", "sale_purchase")
    }
    return MarketplaceConfig(**chosen)


@pytest.mark.filterwarnings("error")
@given(worlds())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_world_is_a_sound_log(config: MarketplaceConfig) -> None:
    tables = simulate_market(config, AS_OF, "TH")
    limits = Limits(as_of=AS_OF)
    # Few requests may see no click at all, which leaves a table of no events.
    checked = {
        schema.name: validate(tables[schema.name], schema, schema.name, limits)
        for schema in (*LOG_TABLES, ORACLE)
        if tables[schema.name].num_rows
    }
    assert set(checked) >= {"items", "users", "requests", "judgments"}
    if "events" in checked and "candidates" in checked:
        check_references(checked, "simulated")
    frames = {name: table.to_pandas() for name, table in tables.items()}
    requests, candidates, events = frames["requests"], frames["candidates"], frames["events"]
    assert len(requests) == config.search_requests + config.rec_requests + config.shop_requests
    assert requests["timestamp"].is_monotonic_increasing
    assert (requests["timestamp"] >= AS_OF - pd.Timedelta(days=config.days)).all()
    assert (requests["timestamp"] < AS_OF).all()
    lists = candidates.groupby("request_id")["position"]
    assert (lists.size() <= config.candidates).all()
    assert (lists.max().dropna() == lists.count()[lists.count() > 0]).all(), "positions run 1, 2, ... without gaps"
    native = events.dropna(subset="request_id").merge(requests, on="request_id", suffixes=("", "_request"))
    assert (native["timestamp"] > native["timestamp_request"]).all()
    assert (native["user_id"] == native["user_id_request"]).all()
    assert (native["domain"] == native["domain_request"]).all()
    shown = candidates.dropna(subset="position")
    assert len(native.merge(shown, on=["request_id", "item_id"])) == len(native)
    searched = candidates.merge(requests[requests["domain"] == "search"], on="request_id")
    pairs = events[events["request_id"].isna()].merge(searched, on=["user_id", "item_id"], suffixes=("", "_search"))
    later = pairs[pairs["timestamp"] >= pairs["timestamp_search"]]
    assert set(later["event_id"]) == set(events.loc[events["request_id"].isna(), "event_id"])
