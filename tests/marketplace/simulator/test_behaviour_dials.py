"""Every constant of behaviour is a dial, and each moves the figure that its description names."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from components.marketplace.config import MarketplaceConfig
from tests.marketplace.small_world import AS_OF, Frames, searches_with_clicks
from tests.page_tables import descriptions

MarketFrames = Callable[..., Frames]
SMALL = {"users": 150, "search_requests": 1500, "rec_requests": 900, "shop_requests": 700}
DAY = pd.Timedelta(days=1)


def of_type(frames: Frames, kind: str) -> pd.DataFrame:
    return frames["events"][frames["events"]["type"] == kind]


def native(frames: Frames, kind: str, domain: str) -> pd.DataFrame:
    """Events on what a request of the domain showed, with that request."""
    events = of_type(frames, kind).query("domain == @domain").dropna(subset="request_id")
    return events.merge(frames["requests"][["request_id", "query", "timestamp"]], on="request_id", suffixes=("", "_r"))


def direct(frames: Frames, kind: str) -> pd.DataFrame:
    events = of_type(frames, kind)
    return events[events["request_id"].isna()]


def listed(frames: Frames, domain: str) -> pd.DataFrame:
    return frames["candidates"].merge(frames["requests"].query("domain == @domain"), on="request_id")


def click_rate(frames: Frames, domain: str) -> float:
    shown = listed(frames, domain)["position"].notna().sum()
    return len(native(frames, "click", domain)) / shown


def bought_share(frames: Frames) -> float:
    """Purchases over clicks in search, of clicks early enough for all to be in."""
    clicks = native(frames, "click", "search")
    clicks = clicks[clicks["timestamp"] < AS_OF - 3 * DAY]
    bought = native(frames, "purchase", "search")[["request_id", "item_id"]].assign(bought=1)
    return float(clicks.merge(bought, how="left", on=["request_id", "item_id"])["bought"].notna().mean())


def buying_what_is_liked(frames: Frames) -> float:
    """How a purchase after a click goes with the item's utility."""
    clicks = searches_with_clicks(frames).query("click == 1")
    bought = native(frames, "purchase", "search")[["request_id", "item_id"]].assign(bought=1)
    rows = clicks.merge(bought, how="left", on=["request_id", "item_id"]).fillna({"bought": 0})
    return correlation(rows, "utility", "bought")


def cart_share(frames: Frames, of_buyers: bool) -> float:
    clicks = native(frames, "click", "search")
    clicks = clicks[clicks["timestamp"] < AS_OF - 3 * DAY]
    for kind in ("cart", "purchase"):
        rows = native(frames, kind, "search")[["request_id", "item_id"]].assign(**{kind: True})
        clicks = clicks.merge(rows, how="left", on=["request_id", "item_id"])
    return float(clicks.loc[clicks["purchase"].notna() == of_buyers, "cart"].notna().mean())


def correlation(rows: pd.DataFrame, left: str, right: str) -> float:
    return float(rows[left].corr(rows[right]))


def spread_over(frames: Frames, column: str) -> float:
    """Standard deviation, over a user's pairs of a query, of the mean utility by a property of the item."""
    rows = searches_with_clicks(frames).merge(frames["items"][["item_id", column]].dropna(), on="item_id")
    means = rows.groupby(["user_id", column])["utility"].mean().groupby("user_id").std()
    return float(means.mean())


def liking_of_cheap(frames: Frames) -> float:
    """How much less is liked what costs more than its category does."""
    rows = searches_with_clicks(frames).merge(frames["items"][["item_id", "price", "category"]], on="item_id")
    price = np.log(rows["price"])
    rows = rows.assign(dear=price - price.groupby([rows["query"], rows["category"]]).transform("mean"))
    return -correlation(rows, "dear", "utility")


def liking_of_popular(frames: Frames) -> float:
    """Agreement of users on items: variance of an item's mean utility within a query."""
    rows = searches_with_clicks(frames)
    means = rows.groupby(["query", "item_id"])["utility"].mean()
    return float(means.std())


def relevance_of_truth(frames: Frames) -> float:
    rows = searches_with_clicks(frames).merge(
        frames["judgments"][["query", "item_id", "grade"]], on=["query", "item_id"]
    )
    return float(rows.groupby("grade")["utility"].mean().agg(lambda m: m.iloc[-1] - m.iloc[0]))


def shown_grade(frames: Frames) -> float:
    """How much better judged is what is shown first than what is shown last."""
    judged = frames["judgments"][["query", "item_id", "grade"]]
    rows = searches_with_clicks(frames).query("exposed").merge(judged, on=["query", "item_id"])
    return -correlation(rows, "position", "grade")


def same_order(frames: Frames) -> float:
    """How alike the first page of one query is from one request to the next, under a policy that knows no user."""
    rows = searches_with_clicks(frames).query("exposed")
    share = rows.groupby(["query", "item_id"]).size() / rows.groupby("query")["request_id"].nunique()
    return float((share**2).groupby("query").sum().mean())


def lists_per_query(frames: Frames) -> float:
    """Distinct items that a query retrieves."""
    rows = listed(frames, "search")
    return float(rows.groupby("query")["item_id"].nunique().mean())


def top_share(values: pd.Series, share: float = 0.1) -> float:
    """Part of all rows that the most frequent tenth of the values takes."""
    counts = values.value_counts()
    return float(counts.iloc[: max(1, int(share * len(counts)))].sum() / counts.sum())


def sessions(frames: Frames) -> pd.DataFrame:
    """Searches in order of user and time, with the minutes since the user's last one and whether the query is kept."""
    searches = frames["requests"].query("domain == 'search'").sort_values(["user_id", "timestamp"])
    last = searches.groupby("user_id")[["timestamp", "query"]].shift()
    minutes = (searches["timestamp"] - last["timestamp"]) / pd.Timedelta(minutes=1)
    return searches.assign(minutes=minutes, same=searches["query"] == last["query"], before=last["query"])


def within_session(frames: Frames) -> pd.DataFrame:
    rows = sessions(frames)
    return rows[rows["minutes"] < 30]


def refined_share(frames: Frames) -> float:
    """Share of a session's next searches that are another query with most of its results in common."""
    best = frames["judgments"].query("grade > 0.3").merge(frames["items"][["item_id"]], on="item_id")
    found = best.groupby("query")["item_id"].agg(set).to_dict()
    next_ones = within_session(frames).query("not same")
    pairs = zip(next_ones["query"], next_ones["before"], strict=True)
    return float(np.mean([bool(found.get(now, set()) & found.get(before, set())) for now, before in pairs]))


def returned(frames: Frames) -> pd.DataFrame:
    """Direct clicks with the utility that the item had in the user's search, whichever was best."""
    rows = searches_with_clicks(frames)[["user_id", "item_id", "utility"]]
    best = rows.groupby(["user_id", "item_id"], as_index=False)["utility"].max()
    return direct(frames, "click").merge(best, on=["user_id", "item_id"])


def hours_of_return(frames: Frames) -> pd.Series:
    """Hours from the user's last search that had the item to each direct click on it."""
    searched = listed(frames, "search")[["user_id", "item_id", "timestamp"]].sort_values("timestamp")
    clicks = direct(frames, "click")[["user_id", "item_id", "timestamp"]].sort_values("timestamp")
    searched = searched.assign(searched=searched["timestamp"])
    pairs = pd.merge_asof(clicks, searched, on="timestamp", by=["user_id", "item_id"])
    return (pairs["timestamp"] - pairs["searched"]) / pd.Timedelta(hours=1)


def median_wait_of_purchase(frames: Frames) -> float:
    """Hours from a request to a purchase of what it showed."""
    return float(
        (native(frames, "purchase", "search").eval("timestamp - timestamp_r") / pd.Timedelta(hours=1)).median()
    )


def wanted_on_page(frames: Frames, domain: str) -> pd.DataFrame:
    """Candidates elsewhere, and whether the user's searches of the last three days retrieved them."""
    rows = listed(frames, domain)
    searched = listed(frames, "search")[["user_id", "item_id", "timestamp"]]
    pairs = rows.merge(searched, on=["user_id", "item_id"], suffixes=("", "_search"))
    waited = pairs["timestamp"] - pairs["timestamp_search"]
    recent = pairs[(waited > pd.Timedelta(0)) & (waited <= 3 * DAY)][["request_id", "item_id"]].drop_duplicates()
    return rows.merge(recent.assign(recent=1), how="left", on=["request_id", "item_id"]).fillna({"recent": 0})


def recent_share(frames: Frames, domain: str) -> float:
    return float(wanted_on_page(frames, domain)["recent"].mean())


def recent_clicks(frames: Frames) -> float:
    """How much oftener the recently searched items of a page of rec are clicked than the others."""
    rows = wanted_on_page(frames, "rec").dropna(subset="position")
    clicks = native(frames, "click", "rec")[["request_id", "item_id"]].assign(click=1)
    rows = rows.merge(clicks, how="left", on=["request_id", "item_id"]).fillna({"click": 0})
    rates = rows.groupby("recent")["click"].mean()
    return float(rates[1] / rates[0])


def recent_first(frames: Frames) -> float:
    rows = wanted_on_page(frames, "rec").dropna(subset="position")
    return -float(rows.query("recent == 1")["position"].mean())


def hours_after_search(frames: Frames) -> pd.Series:
    """Hours from a user's last search to each of their requests elsewhere."""
    requests = frames["requests"].sort_values("timestamp")
    searches = requests.query("domain == 'search'")[["user_id", "timestamp"]].assign(searched=lambda r: r["timestamp"])
    others = requests.query("domain != 'search'")
    matched = pd.merge_asof(others, searches, on="timestamp", by="user_id").dropna(subset="searched")
    return (matched["timestamp"] - matched["searched"]) / pd.Timedelta(hours=1)


@dataclass(frozen=True)
class Dial:
    """Two settings, the figure that must rise from the first to the second, by how much, and what else is set."""

    low: float
    high: float
    figure: Callable[[Frames], float]
    margin: float
    beside: dict[str, object] = field(default_factory=dict)


SESSIONS = {"session_searches": 3.0}
DIALS = {
    "pool": Dial(1.0, 2.0, lists_per_query, 5),
    "retrieval_jitter": Dial(
        0.0, 1.0, lists_per_query, 3, {"pool": 2.0}
    ),
    "user_spread": Dial(0.0, 1.5, lambda f: top_share(f["requests"]["user_id"]), 0.2),
    "popularity_spread": Dial(
        0.0, 1.5, lambda f: top_share(listed(f, "rec")["item_id"]), 0.08, {"policy_utility": 0.0}
    ),
    "query_exponent": Dial(0.0, 1.2, lambda f: top_share(f["requests"]["query"].dropna()), 0.2),
    "query_taste": Dial(
        0.0, 3.0, lambda f: -float(f["requests"].dropna(subset="query").groupby("user_id")["query"].nunique().mean()), 1
    ),
    "session_searches": Dial(1.0, 3.0, lambda f: float((sessions(f)["minutes"] < 30).mean()), 0.5),
    "session_pause": Dial(1.0, 6.0, lambda f: float(within_session(f)["minutes"].median()), 1.5, SESSIONS),
    "repeat": Dial(0.0, 0.5, lambda f: float(within_session(f)["same"].mean()), 0.4, SESSIONS | {"refine": 0.0}),
    "refine": Dial(0.0, 0.8, refined_share, 0.3, SESSIONS | {"repeat": 0.0}),
    "retrieval_weight": Dial(0.0, 3.0, shown_grade, 0.2),
    "retrieval_noise": Dial(0.0, 1.5, lambda f: -shown_grade(f), 0.1, {"retrieval_weight": 2.0}),
    "policy_noise": Dial(0.1, 3.0, lambda f: -same_order(f), 0.5, {"policy_utility": 0.0}),
    "position_decay": Dial(0.0, 1.0, lambda f: -click_rate(f, "search"), 0.05),
    "search_bias": Dial(-5.0, -2.0, lambda f: click_rate(f, "search"), 0.1),
    "browse_bias": Dial(-4.0, -1.0, lambda f: click_rate(f, "rec"), 0.1),
    "relevance_weight": Dial(0.0, 4.0, relevance_of_truth, 3),
    "type_weight": Dial(0.0, 3.0, lambda f: spread_over(f, "category"), 1),
    "brand_weight": Dial(0.0, 3.0, lambda f: spread_over(f, "brand"), 1),
    "price_weight": Dial(0.0, 2.0, liking_of_cheap, 0.1),
    "style_weight": Dial(0.0, 3.0, lambda f: float(searches_with_clicks(f)["utility"].std()), 0.5),
    "quality_weight": Dial(0.0, 2.0, liking_of_popular, 0.5),
    "purchase_bias": Dial(-3.0, 0.0, bought_share, 0.2),
    "purchase_slope": Dial(-0.5, 1.0, buying_what_is_liked, 0.2),
    "cart": Dial(0.0, 0.6, lambda f: cart_share(f, of_buyers=False), 0.5),
    "cart_before_purchase": Dial(0.2, 1.0, lambda f: cart_share(f, of_buyers=True), 0.6),
    "slow_purchase": Dial(
        0.0, 1.0,
        lambda f: float(
            (native(f, "purchase", "search").eval("timestamp - timestamp_r") > pd.Timedelta(hours=4)).mean()
        ),
        0.5,
    ),
    "quick_purchase_hours": Dial(0.1, 6.0, median_wait_of_purchase, 2, {"slow_purchase": 0.0}),
    "slow_purchase_hours": Dial(5.0, 40.0, median_wait_of_purchase, 10, {"slow_purchase": 1.0}),
    "wants": Dial(1, 4, lambda f: len(direct(f, "click")) / 1500, 1.0),
    "want_appeal": Dial(0.0, 3.0, lambda f: float(returned(f)["utility"].mean()), 1.0),
    "want_days": Dial(0.2, 3.0, lambda f: recent_share(f, "rec"), 0.005, {"follow_up_hours": 30.0}),
    "want_utility": Dial(0.0, 4.0, recent_clicks, 0.25),
    "want_score": Dial(0.0, 5.0, recent_first, 0.3),
    "direct": Dial(0.0, 1.0, lambda f: len(direct(f, "click")) / 1500, 0.7),
    "direct_purchase": Dial(0.1, 0.8, lambda f: len(direct(f, "purchase")) / len(direct(f, "click")), 0.5),
    "direct_hours": Dial(1.0, 12.0, lambda f: float(hours_of_return(f).median()), 4, {"direct_late": 0.0}),
    "direct_late": Dial(0.0, 0.8, lambda f: float((hours_of_return(f) > 20).mean()), 0.4, {"direct_hours": 2.0}),
    "direct_rec": Dial(0.1, 0.9, lambda f: float((direct(f, "click")["domain"] == "rec").mean()), 0.7),
    "follow_up": Dial(0.0, 1.0, lambda f: float((hours_after_search(f) < 24).mean()), 0.2, {"users": 1500}),
    "follow_up_hours": Dial(
        1.0, 20.0, lambda f: float(hours_after_search(f).median()), 3, {"follow_up": 1.0, "users": 1500}
    ),
    "rec_wants": Dial(1, 4, lambda f: recent_share(f, "rec"), 0.01, {"wants": 4}),
    "rec_want": Dial(0.0, 1.0, lambda f: recent_share(f, "rec"), 0.01),
    "shop_want": Dial(0.0, 1.0, lambda f: recent_share(f, "shop"), 0.01),
    "shop_taste": Dial(
        0.0, 5.0, lambda f: top_share(listed(f, "shop")["user_id"] + listed(f, "shop")["item_id"]), 0.05,
        {"shop_want": 0.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALS)
def test_a_dial_moves_what_it_names(name: str, market_frames: MarketFrames) -> None:
    dial = DIALS[name]
    low, high = (dial.figure(market_frames(**{**SMALL, **dial.beside, name: v})) for v in (dial.low, dial.high))
    assert high - low > dial.margin, (low, high)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_weekend_is_the_factor_of_its_days(factor: float, market_frames: MarketFrames) -> None:
    times = market_frames(weekend=factor, search_requests=20_000)["requests"].query("domain == 'search'")["timestamp"]
    local = times.dt.tz_convert("Asia/Jakarta")
    weekend = (local.dt.dayofweek >= 5).sum()
    # Four whole weeks: two days of the weekend to five others, wherever the log begins.
    assert weekend / (len(local) - weekend) == pytest.approx(factor * 2 / 5, rel=0.06)
    hours = local.dt.hour
    assert (hours.between(19, 22)).mean() > 3 * (hours.between(2, 5)).mean(), "evenings are as busy as ever"


def test_a_sale_has_its_days_traffic_and_purchases(market_frames: MarketFrames) -> None:
    frames = market_frames(
        sale_days=(7, 20), sale_traffic=4.0, sale_purchase=1.5, search_requests=12_000, **{"users": 300}
    )
    searches = frames["requests"].query("domain == 'search'")
    day = (AS_OF - searches["timestamp"]).dt.ceil("D").dt.days
    counts = day.value_counts()
    others = counts.drop([7, 20]).mean()
    assert counts[7] / others == pytest.approx(4, rel=0.1)
    assert counts[20] / others == pytest.approx(4, rel=0.1)
    clicks = native(frames, "click", "search")
    bought = native(frames, "purchase", "search")[["request_id", "item_id"]].assign(bought=1)
    rows = clicks.merge(bought, how="left", on=["request_id", "item_id"]).fillna({"bought": 0})
    on = (AS_OF - rows["timestamp_r"]).dt.ceil("D").dt.days.isin((7, 20))
    logit = {sale: np.log(rate / (1 - rate)) for sale, rate in rows["bought"].groupby(on).mean().items()}
    assert logit[True] - logit[False] == pytest.approx(1.5, abs=0.25)


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_a_share_comes_during_the_log_and_is_not_there_before(late: float, market_frames: MarketFrames) -> None:
    """New queries, users and items: half as many, or none, are first seen in the second half of the log."""
    frames = market_frames(new_users=late, new_items=late, new_queries=late, pool=2.0, search_requests=12_000)
    requests = frames["requests"].merge(frames["candidates"], on="request_id")
    passed = 1 - (AS_OF - requests["timestamp"]) / pd.Timedelta(days=28)
    for column in ("user_id", "item_id", "query"):
        first = passed.groupby(requests[column]).min()
        # Spread evenly over the log: half of the late ones come in its second half.
        assert (first > 0.5).mean() == pytest.approx(late / 2, abs=0.07), column
    events = frames["events"].merge(
        passed.groupby(requests["item_id"]).min().rename("listed"), left_on="item_id", right_index=True
    )
    assert (1 - (AS_OF - events["timestamp"]) / pd.Timedelta(days=28) >= events["listed"]).all()


@pytest.mark.parametrize("exponent", [0.6, 1.2])
def test_queries_follow_their_power_law(exponent: float, market_frames: MarketFrames) -> None:
    frames = market_frames(query_exponent=exponent, query_taste=0.0, queries=120, search_requests=60_000)
    counts = frames["requests"]["query"].value_counts().to_numpy()[:60]
    slope = np.polyfit(np.log(np.arange(1, 61)), np.log(counts), 1)[0]
    assert -slope == pytest.approx(exponent, abs=0.07)


def test_sessions_are_as_long_and_repeat_as_often_as_told(market_frames: MarketFrames) -> None:
    frames = market_frames(session_searches=2.5, repeat=0.3, refine=0.0, users=3000, search_requests=8000)
    rows = sessions(frames)
    starts = (~(rows["minutes"] < 60)).sum()
    assert len(rows) == 8000
    assert len(rows) / starts == pytest.approx(2.5, rel=0.08)
    # Some new wants are the same query by chance.
    assert 0.28 < within_session(frames)["same"].mean() < 0.42
    assert not rows["timestamp"].duplicated().any() or rows.duplicated(["user_id", "timestamp"]).mean() < 0.001


def test_a_returning_user_comes_back_for_several_items(market_frames: MarketFrames) -> None:
    """With every want met by a link, clicks without a request count the wants: `wants` of them a search."""
    frames = market_frames(wants=3, direct=1.0, elsewhere=1.0, search_requests=1500)
    inside = frames["requests"].query("domain == 'search'")
    early = (inside["timestamp"] < AS_OF - 3 * DAY).sum()
    assert len(direct(frames, "click")) == pytest.approx(3 * 1500, rel=0.05)
    assert early > 1000


def test_candidates_differ_from_request_to_request_and_keep_the_best(market_frames: MarketFrames) -> None:
    same, own = (market_frames(pool=pool) for pool in (1.0, 2.0))
    lists = {name: listed(f, "search").groupby("request_id")["item_id"].agg(frozenset) for name, f in
             (("same", same), ("own", own))}  # fmt: skip
    query = {name: f["requests"].set_index("request_id")["query"] for name, f in (("same", same), ("own", own))}
    distinct = {name: lists[name].groupby(query[name]).nunique() for name in lists}
    assert (distinct["same"] == 1).all()
    assert (distinct["own"] > 5).mean() > 0.9
    assert (lists["own"].map(len) == 20).all()


def test_every_dial_is_tested_and_described() -> None:
    """What the tests beside this one turn is named here; a new field belongs to one of the three."""
    elsewhere = {
        "markets", "seed", "days", "items", "users", "queries", "candidates", "page_size", "judgments",
        "search_requests", "rec_requests", "shop_requests", "policy_utility", "domain_shift", "elsewhere",
        "elsewhere_noise", "annotator_noise", "drift", "drift_days", "typos",
    }  # fmt: skip
    exact = {"weekend", "sale_days", "sale_traffic", "sale_purchase", "new_users", "new_items", "new_queries"}
    assert set(MarketplaceConfig.model_fields) == elsewhere | exact | set(DIALS)
    assert descriptions(MarketplaceConfig).keys() >= MarketplaceConfig.model_fields.keys()
