"""Splits, maturity, and that no label crosses a boundary."""

from pathlib import Path

import pandas as pd
import pytest

from components.contracts.errors import BadInput
from components.samples.config import SamplesConfig
from components.samples.periods import Periods
from tests.samples.hand_log import AS_OF, DAYS, HandLog, day


def test_split_edges(tmp_path: Path) -> None:
    log = HandLog(fill=False)
    edges = {
        "train": day(-18),
        "after train": day(-8),
        "valid": day(-5),
        "after valid": day(-3),
        "test": day(0),
        "after test": day(3),
    }
    for name, start in edges.items():
        log.search(start, "a", name=f"{name} first")
        log.search(start - pd.Timedelta(microseconds=1), "a", name=f"{name} just before")
    log.search(AS_OF, "a", name="end")
    made = log.make(tmp_path)
    assert made.samples.set_index("request_id")["split"].to_dict() == {
        "train first": "train",
        "after train just before": "train",
        "valid first": "valid",
        "after valid just before": "valid",
        "test first": "test",
        "after test just before": "test",
    }
    immature = made.result.immature["split"].to_pylist()
    assert {split: immature.count(split) for split in immature} == {"train": 2, "valid": 2, "test": 2}


def test_naive_as_of_is_utc() -> None:
    config = SamplesConfig(**DAYS)
    assert Periods.before(AS_OF.replace(tzinfo=None), config) == Periods.before(AS_OF, config)


@pytest.mark.parametrize("start", [-9, -4, 1])
def test_every_split_has_one_window_of_labels(tmp_path: Path, start: float) -> None:
    log = HandLog()
    log.search(day(-12), "z")
    search = log.search(day(start), "now last late before", exposed=4)
    log.event("purchase", "now", day(start), request=search)
    log.event("purchase", "last", day(start + 3), request=search)
    log.event("purchase", "late", day(start + 3, microseconds=1), request=search)
    log.event("click", "before", day(start, microseconds=-1), request=search)
    rows = log.make(tmp_path).samples.query("request_id == @search").set_index("item_id")
    labels = rows[["native_click", "native_purchase"]].sum(axis=1).to_dict()
    assert labels == {"now": 2, "last": 2, "late": 0, "before": 0}


def test_credit_comes_no_later_than_labels() -> None:
    with pytest.raises(ValueError, match="purchase_window_days is 4, label_days 3"):
        SamplesConfig(**DAYS | {"purchase_window_days": 4})


def test_events_from_the_boundary_on_are_never_attributed(tmp_path: Path) -> None:
    log = HandLog()
    train = log.search(day(-8, hours=-1), "a b", exposed=2)
    log.search(day(-5, hours=-1), "c", exposed=1)
    last = log.event("purchase", "a", day(-5, hours=-2))
    late = log.event("purchase", "b", day(-5))
    later = log.event("click", "c", day(-5, hours=1))
    made = log.make(tmp_path)
    assert made.fate(last) == "attributed"
    assert made.row(train, "a")["purchase"] == 1
    assert [made.fate(e) for e in (late, later)] == ["after the boundary"] * 2
    assert made.row(train, "b")["purchase"] == 0


def test_evaluation_requests_get_native_labels_only(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-12), "z")
    events, searches = [], []
    for start, items in ((-4, "a b"), (1, "c d")):
        searches.append(log.search(day(start), items, exposed=1))
        events += [log.event("click", item, day(start, hours=2)) for item in items.split()]
    samples = (made := log.make(tmp_path)).samples
    assert {made.fate(event) for event in events} == {"after the boundary"}
    rows = samples[samples["request_id"].isin(searches)]
    assert len(rows) == 4
    assert rows[["click", "native_click"]].to_numpy().sum() == 0
    assert set(rows["label_source"]) == {"native", "unexposed"}


def test_an_event_explained_by_an_immature_or_old_request_is_spent(tmp_path: Path) -> None:
    log = HandLog()
    train = log.search(day(-8, hours=-2), "a", exposed=1)
    log.search(day(-8, hours=2), "a", exposed=1)
    immature = log.event("click", "a", day(-8, hours=3))
    log.search(day(-18, hours=-2), "b", exposed=1)
    old = log.event("click", "b", day(-18, hours=2))
    made = log.make(tmp_path)
    assert made.fate(immature) == "attributed outside the training window"
    assert made.fate(old) == "attributed outside the training window"
    assert made.row(train, "a")["click"] == 0
    assert made.pseudo.empty


def test_pseudo_requests_come_from_the_training_window_only(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-25), "z")
    times = {"before": -18.1, "first": -18, "last": -8.01, "immature": -8, "valid": -4}
    events = {}
    for name, at in times.items():
        page = log.browse(day(at), f"{name} other")
        events[name] = log.event("click", name, day(at, seconds=5), request=page)
    log.search(day(-12), "z")
    made = log.make(tmp_path)
    assert {name: made.fate(event) for name, event in events.items()} == {
        "before": "before the training window",
        "first": "searchified",
        "last": "searchified",
        "immature": "immature",
        "valid": "after the boundary",
    }
    assert set(made.pseudo["split"]) == {"train"}


def test_nothing_after_the_boundary_changes_a_training_row(tmp_path: Path) -> None:
    def build(with_future: bool) -> HandLog:
        log = HandLog()
        train = log.search(day(-9), "a b c d", exposed=2)
        log.event("click", "a", day(-9, hours=1), request=train)
        page = log.browse(day(-8.5), "x y z", name="page")
        log.event("click", "x", day(-8.5, seconds=9), request=page)
        log.event("purchase", "b", day(-7))
        if with_future:
            log.event("click", "y", day(-4.5), request=page)
            log.event("purchase", "x", day(-4.9), request=page)
            log.event("purchase", "a", day(-4.9), request=train)
            log.event("click", "c", day(-4.9), request=train)
            future = log.search(day(-4.5), "x y a", exposed=3, query="new words")
            log.event("click", "x", day(-4.4), request=future)
            log.query_vectors["new words"] = [1.0, 0.0, 0.0]
        return log

    with_future, without = build(True).make(tmp_path / "with"), build(False).make(tmp_path / "without")
    rows = [made.samples.query("split == 'train'").reset_index(drop=True) for made in (with_future, without)]
    pd.testing.assert_frame_equal(*rows)


def test_a_log_without_a_split_is_bad_input(tmp_path: Path) -> None:
    log = HandLog(fill=False)
    log.search(day(-4), "a")
    log.search(day(1), "a")
    with pytest.raises(BadInput, match=r"no search request in the train window .*train 2026-03-13 06:30 to 2026-03-23"):
        log.make(tmp_path)
