"""A click elsewhere and its purchase make one positive, wherever each would go by itself."""

from pathlib import Path

from tests.samples.hand_log import HandLog, Made, day

T = day(-12)
TOGETHER = "goes with its journey"


def positives(made: Made) -> dict[tuple[str, str], int]:
    """(request, item) of training rows with a click -> whether it was bought."""
    rows = made.samples.query("split == 'train' and click == 1")
    return dict(zip(zip(rows["request_id"], rows["item_id"], strict=True), rows["purchase"], strict=True))


def test_a_credited_click_and_its_purchase_go_to_one_row(tmp_path: Path) -> None:
    """By itself the click would go to the later search, and the purchase to the older one, which showed the item."""
    log = HandLog()
    older = log.search(day(-13.5), "a b", exposed=2)
    log.search(day(-12, hours=-2), "z a", exposed=1)
    click = log.event("click", "a", T)
    bought = log.event("purchase", "a", day(-12, hours=1))
    made = log.make(tmp_path)
    assert positives(made) == {(older, "a"): 1}
    assert [made.fate(e) for e in (click, bought)] == [TOGETHER, "attributed"]


def test_a_click_that_no_search_explains_goes_with_its_purchase(tmp_path: Path) -> None:
    """The click's own window is over, and it would be a pseudo request beside the row of its purchase."""
    log = HandLog()
    log.search(day(-17), "z")
    search = log.search(day(-14), "z a", exposed=1)
    click = log.found("click", "a", T)
    bought = log.event("purchase", "a", day(-12, hours=1))
    made = log.make(tmp_path)
    assert positives(made) == {(search, "a"): 1}
    assert [made.fate(e) for e in (click, bought)] == [TOGETHER, "attributed"]
    assert made.pseudo.empty


def test_a_purchase_too_late_for_its_clicks_row_is_no_label_and_no_positive_of_its_own(tmp_path: Path) -> None:
    log = HandLog()
    search = log.search(day(-13, hours=1), "a")
    click = log.event("click", "a", T)
    bought = log.found("purchase", "a", day(-9.5))
    made = log.make(tmp_path)
    assert positives(made) == {(search, "a"): 0}
    assert [made.fate(e) for e in (click, bought)] == ["attributed", TOGETHER]


def test_purchases_of_one_click_share_its_row(tmp_path: Path) -> None:
    log = HandLog()
    shown = log.search(day(-13.5), "a")
    log.event("click", "a", T)
    log.event("purchase", "a", day(-12, hours=1))
    log.search(day(-12, hours=2), "z a", exposed=1)
    log.event("purchase", "a", day(-12, hours=3))
    assert positives(log.make(tmp_path)) == {(shown, "a"): 1}


def test_each_click_is_a_journey_and_a_purchase_follows_the_latest(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-17), "z")
    first = log.found("click", "a", day(-12))
    second = log.found("click", "a", day(-11))
    log.event("purchase", "a", day(-11, hours=1))
    log.found("click", "a", day(-11, hours=1, seconds=1))
    made = log.make(tmp_path)
    assert {made.fate(first), made.fate(second)} == {"searchified"}
    bought = made.pseudo.query("click == 1").sort_values("timestamp")["purchase"]
    assert bought.tolist() == [0, 1, 0]


def test_events_after_the_boundary_join_no_journey(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-17), "z")
    click = log.found("click", "a", day(-8, seconds=-1))
    bought = log.event("purchase", "a", day(-5))
    made = log.make(tmp_path)
    assert [made.fate(e) for e in (click, bought)] == ["searchified", "after the boundary"]
    assert made.pseudo.query("click == 1")["purchase"].tolist() == [0]
