"""Logs that contradict themselves: what each kind adds makes no label and no sequence, once the log is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_manifest
from components.features.config import FeaturesConfig
from components.features.tables import build_feature_tables
from components.marketplace.logs.config import LoadConfig
from components.marketplace.logs.load import load_log
from components.samples.config import SamplesConfig
from tests.samples.hand_log import AS_OF, DAYS, HandLog, day, make_apart

AT = day(-12)
LENIENT = LoadConfig(max_dropped=0.9)


def clean() -> HandLog:
    """A search with a native click, a page of recommendations with another, and a purchase later."""
    log = HandLog()
    log.item("foreign", market="VN")
    log.search(day(-17), "z", user="other", query="phone")
    log.search(AT, "a b c", exposed=2, name="search")
    log.event("click", "a", day(-12, minutes=1), request="search")
    log.browse(day(-11), "d e f", name="page", exposed=2)
    log.event("click", "d", day(-11, minutes=1), request="page")
    log.event("purchase", "d", day(-11, hours=1))
    return log


def ask(log: HandLog, market: str = "TH", **changes: object) -> None:
    """A request whose list can't be trusted, with a click on it."""
    log.search(day(-10), "b c" if market == "TH" else "b c foreign", exposed=3, name="bad", market=market)
    if changes.get("listed") is False:
        log.candidates = [row for row in log.candidates if row["request_id"] != "bad"]
    if changes.get("places"):
        for row in log.candidates:
            row["position"] = 1 if row["request_id"] == "bad" else row["position"]
    log.event("click", "b", day(-10, minutes=1), request="bad")


def elsewhere(log: HandLog) -> None:
    log.candidates.append({"request_id": "search", "item_id": "foreign", "position": 9})
    log.event("click", "foreign", day(-12, minutes=2), request="search")


# Kind -> what it adds to the log, and the problems that its rows are dropped for.
DROPPED: dict[str, tuple[Callable[[HandLog], object], set[str]]] = {
    "before their request": (
        lambda log: log.event("click", "b", day(-12, minutes=-1), request="search"),
        {"before their request"},
    ),
    "on an item outside the list": (
        lambda log: log.event("click", "e", day(-12, minutes=2), request="search"),
        {"item that is no candidate of their request"},
    ),
    "on an item that was not shown": (
        lambda log: log.event("purchase", "c", day(-12, minutes=2), request="search"),
        {"item that their request did not show"},
    ),
    "on an item that a page did not show": (
        lambda log: log.event("click", "f", day(-11, minutes=2), request="page"),
        {"item that their request did not show"},
    ),
    "by another user than their request": (
        lambda log: log.event("click", "b", day(-12, minutes=2), request="search", user="other"),
        {"by another user than their request"},
    ),
    "in another domain than their request": (
        lambda log: log.event("click", "b", day(-12, minutes=2), request="search", domain="shop"),
        {"in another domain than their request"},
    ),
    "in search without a request": (
        lambda log: log.event("click", "b", day(-12, minutes=2), domain="search"),
        {"in search without a request"},
    ),
    "in another market, without a request": (
        lambda log: log.event("click", "foreign", day(-12, minutes=2)),
        {"item of another market than their user"},
    ),
    "in another market, on a listed item": (
        elsewhere,
        {"item of another market than their request"},
    ),
    "in a request without a list": (
        lambda log: ask(log, listed=False),
        {"no candidates", "their request was dropped"},
    ),
    "in a request with one position twice": (
        lambda log: ask(log, places=True),
        {"one position twice among their candidates", "their request was dropped"},
    ),
    "in a request of another market than its user": (
        lambda log: ask(log, market="VN"),
        {"item of another market than their request", "in another market than their user", "their request was dropped"},
    ),
}


@dataclass
class Chain:
    """What a log becomes: the problems that were found, samples, and sequences of users."""

    problems: set[str]
    samples: pd.DataFrame
    sequences: pd.DataFrame


def chain(log: HandLog, root: Path) -> Chain:
    """Load a log as a user's, make its samples, and its users' sequences."""
    written, scores, encodings = log.write(root)
    users = sorted({row["user_id"] for row in (*log.requests, *log.events)})
    titles = {item: item for item in log.items}
    judged = {"query_id": "q", "market": "TH", "query": "phone", "item_id": "a", "title": titles["a"], "grade": 1.0}
    for name, rows in (("users", [{"user_id": u, "market": "TH"} for u in users]), ("judgments", [judged])):
        pq.write_table(pa.Table.from_pylist(rows), written / f"{name}.parquet")
    loaded = root / "loaded"
    load_log(written, None, ["TH", "VN"], AS_OF, loaded, LENIENT)
    made = make_apart((loaded, scores, encodings), SamplesConfig(**DAYS))
    build_feature_tables(loaded, scores, FeaturesConfig(), AS_OF, root / "features")
    sequences = pq.read_table(root / "features" / "user_sequences.parquet").to_pandas()
    dropped = read_manifest(loaded)["metrics"]["dropped"]
    return Chain({part["problem"] for part in dropped}, made.samples, sequences)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    made = chain(clean(), tmp_path_factory.mktemp("clean"))
    assert not made.problems
    assert made.samples["click"].sum() == 2 and len(made.sequences) > 0
    return made


@pytest.mark.parametrize("kind", DROPPED)
def test_events_that_cannot_be_make_no_label_and_no_sequence(kind: str, expected: Chain, tmp_path: Path) -> None:
    log = clean()
    add, problems = DROPPED[kind]
    add(log)
    made = chain(log, tmp_path)
    assert made.problems == problems
    pd.testing.assert_frame_equal(made.samples, expected.samples)
    pd.testing.assert_frame_equal(made.sequences, expected.sequences)


@pytest.mark.parametrize(
    ("at", "message"),
    [(AS_OF + pd.Timedelta(seconds=1), r"events.*timestamp"), (AS_OF + pd.Timedelta(days=30), r"events.*timestamp")],
)
def test_an_event_of_the_future_refuses_the_log(at, message: str, tmp_path: Path) -> None:
    log = clean()
    log.event("click", "b", at, request="search")
    with pytest.raises(BadInput, match=message):
        chain(log, tmp_path)


def test_one_event_twice_refuses_the_log(tmp_path: Path) -> None:
    log = clean()
    log.events.append(dict(log.events[0]))
    with pytest.raises(BadInput, match=r"events.*event_id.*duplicate"):
        chain(log, tmp_path)


def test_a_click_logged_twice_makes_no_second_positive(expected: Chain, tmp_path: Path) -> None:
    log = clean()
    for event in list(log.events):
        log.events.append(event | {"event_id": f"again-{event['event_id']}"})
    made = chain(log, tmp_path)
    pd.testing.assert_frame_equal(made.samples, expected.samples)


def test_a_purchase_without_a_click_is_one_positive_and_no_click_of_a_sequence(tmp_path: Path) -> None:
    log = clean()
    log.event("purchase", "b", day(-12, minutes=5), request="search")
    made = chain(log, tmp_path)
    row = made.samples.query("request_id == 'search' and item_id == 'b'").iloc[0]
    assert (row["native_click"], row["native_purchase"], row["click"], row["purchase"]) == (1, 1, 1, 1)
    assert made.samples["click"].sum() == 3
    last = made.sequences[made.sequences["user_id"] == "u"].sort_values("event_timestamp").iloc[-1]
    assert (len(last["clicked_items"]), len(last["purchased_items"])) == (2, 2)
