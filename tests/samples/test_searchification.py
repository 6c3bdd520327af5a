"""Searchification on hand-made logs: pseudo requests, their negatives and their queries."""

from pathlib import Path

import pytest

from tests.samples.hand_log import HandLog, day

T = day(-12)


def test_a_left_over_click_becomes_a_pseudo_request(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-20), "z", query="  Red   PHONE ")
    page = log.browse(T, "a b c d e", domain="shop")
    click = log.event("click", "b", day(-12, minutes=3), request=page)
    log.search(day(-12), "z")
    made = log.make(tmp_path, negatives_per_click=2)
    assert made.fate(click) == "searchified"
    rows = made.pseudo.set_index("item_id")
    assert rows["label_source"].to_dict() == {
        "b": "searchified",
        "a": "searchified_negative",
        "c": "searchified_negative",
    }
    assert rows["request_id"].nunique() == 1
    assert rows["request_id"].iloc[0] not in {request["request_id"] for request in log.requests}
    assert rows["click"].to_dict() == {"b": 1, "a": 0, "c": 0}
    assert set(rows["domain"]) == {"shop"}
    assert set(rows["query"]) == {"red phone"}
    assert set(rows["timestamp"]) == {T}, "features are frozen when the source page was asked for"
    assert rows[["native_click", "native_purchase", "exposed", "purchase"]].to_numpy().sum() == 0


def test_negatives_are_similar_and_untouched(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-17), "z")
    log.item("a", "phones", [1, 0, 0])
    log.item("same category, far", "phones", [0, 1, 0])
    log.item("same category, near", "phones", [1, 0.5, 0])
    log.item("other category, near", "cases", [1, 0.1, 0])
    log.item("other category, far", "cases", [0.5, 1, 0])
    for touched in ("clicked", "carted"):
        log.item(touched, "phones", [1, 0, 0])
    page = log.browse(T, "")
    for item in list(log.items):
        if item != "z":
            log.candidates.append({"request_id": page, "item_id": item, "position": 1})
    log.event("click", "a", day(-12, seconds=4), request=page)
    log.event("click", "clicked", day(-12, seconds=9), request=page)
    log.event("cart", "carted", day(-12, seconds=9), request=page)
    rows = log.make(tmp_path, theta_neg=0.9, negatives_per_click=9).pseudo
    pseudo_request = rows.query("item_id == 'a'")["request_id"].item()
    negatives = rows[(rows["request_id"] == pseudo_request) & (rows["click"] == 0)]
    assert set(negatives["item_id"]) == {"same category, far", "same category, near", "other category, near"}
    # The most similar come first.
    nearest = log.make(tmp_path, theta_neg=0.9, negatives_per_click=1).pseudo
    nearest = nearest[(nearest["request_id"] == pseudo_request) & (nearest["click"] == 0)]
    assert nearest["item_id"].tolist() == ["other category, near"]


def test_query_tiers(tmp_path: Path) -> None:
    log = HandLog()
    log.query_vectors = {"near": [1, 0, 0], "own early": [0, 0, 1], "frequent": [0, 0, 1], "rare": [0, 0, 1]}
    log.relevance = {(query, "a"): 0.0 for query in ("own early", "own late", "frequent", "rare")}
    early = log.search(day(-16), "a", query="own early")
    log.event("click", "a", day(-16, hours=1), request=early)
    late = log.search(day(-15), "a", query="own late")
    log.event("purchase", "a", day(-15, hours=1), request=late)
    log.search(day(-14), "a", query="seen, not clicked")
    for n, query in enumerate(("frequent", "rare", "frequent")):
        search = log.search(day(-15 + n / 2), "a", query=query, user="others")
        log.event("click", "a", day(-15 + n / 2, hours=1), request=search, user="others")
    log.search(day(-14), "z", query="near", user="others")
    log.search(day(-14), "z", query="away", user="others")
    own = log.found("click", "a", day(-11))
    frequent = log.found("click", "a", day(-11), user="stranger")
    log.item("b", vector=[1, 0, 0])
    nearest = log.found("click", "b", day(-11))
    made = log.make(tmp_path)
    assert {made.fate(event) for event in (own, frequent, nearest)} == {"searchified"}
    rows = made.pseudo.query("click == 1").set_index(["user_id", "item_id"])[["query", "query_source"]]
    assert rows.loc[("u", "a")].tolist() == ["own late", "own"]
    assert rows.loc[("stranger", "a")].tolist() == ["frequent", "cooccurrence"]
    assert rows.loc[("u", "b")].tolist() == ["near", "nearest"]


def test_only_the_past_makes_queries(tmp_path: Path) -> None:
    """Every tier has a better query at the event's own instant, or in another market: none may be used."""
    log = HandLog()
    log.query_vectors = {"old": [0, 1, 0], "own now": [1, 0, 0], "crowd now": [1, 0, 0], "abroad": [1, 0, 0]}
    log.search(day(-17), "z", query="old", user="others")
    log.search(day(-17), "v", query="abroad", user="v", market="VN")
    log.relevance = {("own now", "a"): 0.0}
    page = log.browse(T, "a b")
    own = log.search(day(-12, seconds=-9), "a", query="own now")
    log.event("click", "a", T, request=own)
    crowd = log.search(T, "a", query="crowd now", user="others")
    for n in range(3):
        log.event("click", "a", day(-12, hours=1 + n), request=crowd, user="others")
    log.event("click", "a", day(-12, hours=9), request=page)
    row = log.make(tmp_path).pseudo.query("click == 1").iloc[0]
    # "own now" was searched nine seconds before, so it may be the nearest query; its click is not yet past.
    assert (row["query"], row["query_source"]) == ("own now", "nearest")


def test_no_past_query_means_no_pseudo_request(tmp_path: Path) -> None:
    log = HandLog()
    page = log.browse(T, "a b")
    click = log.event("click", "a", day(-12, seconds=5), request=page)
    again = log.event("click", "a", day(-12, seconds=6), request=page)
    bought = log.event("purchase", "a", day(-11), request=page)
    log.search(T, "z")
    made = log.make(tmp_path)
    assert [made.fate(e) for e in (click, again)] == ["no query"] * 2
    assert made.fate(bought) == "its click was not searchified"
    assert made.pseudo.empty


def test_events_of_one_page_and_purchases_join_their_click(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-17), "z")
    page = log.browse(T, "a b")
    first = log.event("click", "a", day(-12, seconds=5), request=page)
    again = log.event("click", "a", day(-12, seconds=6), request=page)
    other_page = log.browse(day(-11), "a b", domain="shop")
    apart = log.event("click", "a", day(-11, seconds=5), request=other_page)
    joined = log.event("purchase", "a", day(-11, hours=-1))
    last = log.event("purchase", "a", day(-11 + 3))
    late = log.event("purchase", "a", day(-11 + 3, seconds=5))
    too_late = log.event("purchase", "a", day(-11 + 3, seconds=6))
    made = log.make(tmp_path)
    assert {e: made.fate(e) for e in (first, again, apart, joined, last, late, too_late)} == {
        first: "searchified",
        again: "repeated on its page",
        apart: "searchified",
        joined: "joined its click",
        last: "joined its click",
        late: "outside the label window of its page",
        too_late: "immature",
    }
    clicked = made.pseudo.query("item_id == 'a'")
    assert clicked.set_index("domain")["purchase"].to_dict() == {"rec": 1, "shop": 1}


def test_a_purchase_without_a_click_is_a_click_too(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-17), "z")
    with_page = log.event("purchase", "a", day(-12, seconds=5), request=log.browse(T, "a b", domain="shop"))
    without = log.found("purchase", "c", day(-11), domain="shop")
    made = log.make(tmp_path)
    assert {made.fate(with_page), made.fate(without)} == {"searchified"}
    rows = made.pseudo.set_index("item_id")
    assert rows.loc[["a", "c"], ["click", "purchase"]].to_numpy().tolist() == [[1, 1], [1, 1]]
    assert "b" in rows.index


@pytest.mark.parametrize("mode", ["shared", "own"])
def test_a_pseudo_request_without_a_negative_is_dropped(tmp_path: Path, mode: str) -> None:
    log = HandLog()
    log.search(day(-17), "z")
    log.item("other", "cases", [0, 0, 1])
    alone = log.event("click", "a", day(-12, seconds=5), request=log.browse(T, "a other"))
    bought = log.event("purchase", "a", day(-12, hours=1))
    without_page = log.event("click", "b", day(-11))
    made = log.make(tmp_path, negative_query=mode)
    assert made.pseudo.empty
    assert [made.fate(e) for e in (alone, bought, without_page)] == [
        "no negative on its page",
        "its click was not searchified",
        "no negative on its page",
    ]


@pytest.mark.parametrize("mode", ["shared", "own"])
def test_queries_of_negatives(tmp_path: Path, mode: str) -> None:
    log = HandLog()
    log.query_vectors = {"for a": [1, 0, 0], "for b": [0.9, 0.1, 0], "for c": [0, 0, 1]}
    for query in log.query_vectors:
        search = log.search(day(-17), "z b", query=query, user="others", exposed=2)
        if query == "for b":
            log.event("click", "b", day(-17, hours=1), request=search, user="others")
    log.item("c", vector=[0.1, 0, 1])
    log.event("click", "a", day(-12, seconds=5), request=log.browse(T, "a b c"))
    rows = log.make(tmp_path, negative_query=mode).pseudo.set_index("item_id")
    assert rows["request_id"].nunique() == 1
    queries, sources = rows["query"].to_dict(), rows["query_source"].to_dict()
    if mode == "shared":
        assert queries == {"a": "for a", "b": "for a", "c": "for a"}
        assert set(sources.values()) == {"nearest"}
    else:
        assert queries == {"a": "for a", "b": "for b", "c": "for c"}
        assert sources == {"a": "nearest", "b": "cooccurrence", "c": "nearest"}
