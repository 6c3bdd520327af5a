"""Hierarchical attribution on hand-made logs: every tier, every edge of the windows."""

from pathlib import Path

from tests.samples.hand_log import HandLog, day

T = day(-12)  # an event in the middle of the training window


def test_clicks_prefer_the_better_tier_then_the_later_request(tmp_path: Path) -> None:
    log = HandLog()
    exposed = log.search(day(-12, hours=-20), "a b", exposed=1)
    unexposed = log.search(day(-12, hours=-1), "b a", exposed=1)
    click = log.event("click", "a", T)

    early = log.search(day(-12, hours=-9), "c", exposed=1)
    late = log.search(day(-12, hours=-3), "c", exposed=1)
    log.event("click", "c", T)

    log.relevance = {("shoe", "d"): 0.1}
    log.search(day(-12, hours=-1), "d", exposed=1, query="shoe")
    relevant = log.search(day(-12, hours=-5), "z d", exposed=1, query="case")
    behind_irrelevant = log.event("click", "d", T)

    made = log.make(tmp_path)
    assert (made.fate(click), made.tier(click)) == ("attributed", "exposed")
    row = made.row(exposed, "a")
    assert (row["click"], row["native_click"], row["purchase"], row["label_source"]) == (1, 0, 0, "attributed")
    assert not made.has(unexposed, "a"), "credited elsewhere, and no negative of a request that came just before"
    assert (made.row(early, "c")["click"], made.row(late, "c")["click"]) == (0, 1)
    assert made.tier(behind_irrelevant) == "unexposed"
    assert made.row(relevant, "d")["click"] == 1
    assert made.pseudo.empty


def test_unexposed_positive_is_kept_whatever_is_sampled(tmp_path: Path) -> None:
    log = HandLog()
    search = log.search(day(-12, hours=-3), "a b c d e f", exposed=1)
    click = log.event("click", "f", T)
    made = log.make(tmp_path, unexposed_per_exposed=0)
    assert made.tier(click) == "unexposed"
    row = made.row(search, "f")
    assert (row["click"], row["exposed"], row["label_source"], row["query_source"]) == (1, 0, "attributed", "native")
    samples = made.samples
    assert set(samples[samples["request_id"] == search]["item_id"]) == {"a", "f"}


def test_purchase_prefers_clicked_then_exposed_then_unexposed(tmp_path: Path) -> None:
    log = HandLog()
    clicked = log.search(day(-14, hours=-3), "a b", exposed=2)
    log.event("click", "a", day(-14, hours=-2), request=clicked)
    exposed = log.search(day(-13), "a b", exposed=2)
    unexposed = log.search(day(-12, hours=-1), "z a b", exposed=1)
    first = log.event("purchase", "a", T, domain="shop")
    second = log.event("purchase", "b", T, domain="shop")
    third_search = log.search(day(-12, hours=-2), "z c", exposed=1)
    third = log.event("purchase", "c", T, domain="shop")
    too_late = log.search(day(-13), "d", exposed=1)
    log.event("click", "d", day(-12, hours=5), request=too_late)
    before_click = log.event("purchase", "d", T, domain="shop")
    made = log.make(tmp_path)
    assert made.tier(before_click) == "exposed_not_clicked", "its search click came after the purchase"
    assert [made.tier(e) for e in (first, second, third)] == ["clicked", "exposed_not_clicked", "unexposed"]
    row = made.row(clicked, "a")
    assert (row["native_click"], row["native_purchase"], row["click"], row["purchase"]) == (1, 0, 1, 1)
    assert (made.row(exposed, "b")["click"], made.row(exposed, "b")["purchase"]) == (1, 1)
    assert made.row(exposed, "a")["purchase"] == 0
    assert not made.has(unexposed, "a")
    assert made.row(third_search, "c")["purchase"] == 1


def test_window_edges(tmp_path: Path) -> None:
    log = HandLog()
    events = {}
    for kind, window in (("click", 1), ("purchase", 3)):
        starts = {
            "edge": day(-12 - window),
            "outside": day(-12 - window, microseconds=-1),
            "same": T,
            "after": day(-12, microseconds=1),
        }
        for name, start in starts.items():
            log.search(start, f"{kind}-{name}", exposed=1)
            events[kind, name] = log.event(kind, f"{kind}-{name}", T)
    made = log.make(tmp_path)
    credited = {case for case, event in events.items() if made.tier(event) is not None}
    assert credited == {("click", "edge"), ("purchase", "edge")}


def test_relevance_below_the_markets_threshold_is_not_attributed(tmp_path: Path) -> None:
    log = HandLog(thresholds={"TH": 0.5, "VN": 0.8})
    log.relevance = {("phone", "at"): 0.5, ("phone", "below"): 0.4999, ("phone", "unscored"): None, ("dien", "v"): 0.7}
    log.search(day(-12, hours=-1), "at below unscored", exposed=3)
    log.item("v", market="VN")
    log.search(day(-12, hours=-1), "v", query="dien", user="v", market="VN")
    events = {item: log.found("click", item, T) for item in ("at", "below", "unscored")}
    events["v"] = log.found("click", "v", T, user="v")
    events["elsewhere"] = log.found("click", "elsewhere", T)
    made = log.make(tmp_path)
    assert {item: made.fate(e) for item, e in events.items()} == {
        "at": "attributed",
        "below": "searchified",
        "unscored": "searchified",
        "v": "searchified",
        "elsewhere": "searchified",
    }
    reasons = made.result.misses.to_pandas().set_index("event_id")["reason"].to_dict()
    assert reasons == {
        events["below"]: "relevance below the market's threshold",
        events["unscored"]: "pair has no relevance score",
        events["v"]: "relevance below the market's threshold",
        events["elsewhere"]: "no search held the item in time",
    }


def test_an_event_is_credited_once_and_events_of_one_item_share_a_row(tmp_path: Path) -> None:
    log = HandLog()
    searches = [log.search(day(-12, hours=-h), "a", exposed=1) for h in (1, 2, 3)]
    for minutes in range(4):
        log.event("click", "a", day(-12, minutes=minutes))
    log.event("purchase", "a", day(-12, hours=1))
    made = log.make(tmp_path)
    assert made.result.credited.num_rows == 5
    rows = [made.row(search, "a") for search in searches]
    assert [row["click"] for row in rows] == [1, 0, 0]
    assert [row["purchase"] for row in rows] == [1, 0, 0]


def test_what_leaves_a_row_as_it_was(tmp_path: Path) -> None:
    log = HandLog()
    clicked = log.search(day(-12, hours=-3), "a", exposed=1, user="clicked already")
    log.event("click", "a", day(-12, hours=-2), request=clicked, user="clicked already")
    changes_nothing = log.event("click", "a", T, user="clicked already")

    others = log.search(day(-12, hours=-1), "b", user="another user")
    not_theirs = log.found("click", "b", T)

    orphan = log.search(day(-12, hours=-1), "c", user="searcher")
    log.event("click", "c", T, request=None, domain="search", user="searcher")

    carted = log.search(day(-12, hours=-1), "d", user="carter")
    log.event("cart", "d", T, request=carted, user="carter")
    log.event("cart", "d", T, user="carter")

    made = log.make(tmp_path)
    assert made.fate(changes_nothing) == "attributed"
    assert made.fate(not_theirs) == "searchified"
    assert made.result.fates.num_rows == 2, "search events and carts are no non-search labels"
    assert made.row(clicked, "a")["label_source"] == "native"
    for search, item in ((others, "b"), (orphan, "c"), (carted, "d")):
        assert made.row(search, item)[["click", "purchase", "label_source"]].tolist() == [0, 0, "native"]


def test_the_place_of_shown_rows_is_kept(tmp_path: Path) -> None:
    log = HandLog()
    search = log.search(day(-12, hours=-2), "a b c", exposed=2)
    log.event("click", "c", T)
    log.found("click", "d", T)
    made = log.make(tmp_path)
    places = made.samples[made.samples["request_id"] == search].set_index("item_id")["position"]
    assert places["a"] == 1 and places["b"] == 2 and places.isna()["c"]
    assert len(made.pseudo) and made.pseudo["position"].isna().all()
