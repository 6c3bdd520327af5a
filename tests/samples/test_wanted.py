"""What a user clicked or bought soon after a request is no negative of it."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.samples.hand_log import HandLog, day

# The click's own row is credited with it; the row of an older search holds the item, too.
OLDER, LATER = day(-12), day(-12, hours=2)


def negatives(log: HandLog, folder: Path, request: str, **config) -> set[str]:
    rows = log.make(folder, unexposed_per_exposed=50, **config).samples
    return set(rows[(rows["request_id"] == request) & (rows["click"] == 0) & (rows["exposed"] == 0)]["item_id"])


@pytest.mark.parametrize(
    ("kind", "after", "user", "left_out"),
    [
        ("click", {"hours": 23}, "u", True),
        ("click", {"hours": 24}, "u", True),
        ("click", {"hours": 24, "microseconds": 1}, "u", False),
        ("purchase", {"days": 3}, "u", True),
        ("purchase", {"days": 3, "microseconds": 1}, "u", False),
        ("click", {"hours": -1}, "u", False),
        ("click", {"hours": 1}, "another", False),
        ("cart", {"hours": 1}, "u", False),
    ],
)
def test_an_item_wanted_within_the_window_is_no_negative(tmp_path: Path, kind, after, user, left_out) -> None:
    log = HandLog()
    older = log.search(OLDER, "shown a b", query="phone")
    # It happens on a search's own page, so that it is credited to nothing else.
    page = log.search(day(-13), "x a", exposed=2, user=user)
    log.event(kind, "a", OLDER + timedelta(**after), request=page, user=user)
    assert negatives(log, tmp_path, older) == ({"b"} if left_out else {"a", "b"})


def test_shown_items_keep_their_native_labels(tmp_path: Path) -> None:
    log = HandLog()
    older = log.search(OLDER, "a b", exposed=2)
    log.event("click", "a", LATER, request=log.search(LATER, "a"))
    made = log.make(tmp_path, exposed_credit=False)
    assert made.row(older, "a")["click"] == 0
    assert made.result.wanted.num_rows == 0


def test_nothing_after_the_boundary_is_asked(tmp_path: Path) -> None:
    log = HandLog()
    last = log.search(day(-8, microseconds=-1), "shown a b")
    log.event("purchase", "a", day(-5), request=log.search(day(-5, seconds=-1), "a"))
    log.event("purchase", "b", day(-5, microseconds=-1), request=log.search(day(-5, seconds=-1), "b"))
    assert negatives(log, tmp_path, last) == {"a"}


def test_an_item_of_a_page_that_was_wanted_elsewhere_is_no_negative_of_its_pseudo_request(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-17), "z")
    page = log.browse(OLDER, "a b c")
    log.event("click", "a", day(-12, seconds=4), request=page)
    log.event("click", "b", LATER, request=log.search(LATER, "b", query="case"))
    made = log.make(tmp_path)
    assert set(made.pseudo.query("click == 0")["item_id"]) == {"c"}
    assert made.result.wanted.to_pydict() == {"mechanism": ["searchification"]}
