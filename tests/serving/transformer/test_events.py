"""What may be posted as events: every rule, with the place named."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from components.contracts.errors import BadInput
from serving.transformer.events import MAX_EVENTS, read_events
from serving.transformer.validation import Catalogue

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CATALOGUE = Catalogue(["TH-1", "TH-2"], ["TH", "TH"], ["one", "two"])
CLICK = {"type": "click", "user_id": "u1", "item_id": "TH-1"}


def read(*events: object) -> list:
    return read_events(json.dumps({"events": events}).encode(), CATALOGUE, NOW)


def test_a_click_needs_little_and_may_say_more() -> None:
    (bare,) = read(CLICK)
    assert (bare.type, bare.user_id, bare.item_id, bare.domain) == ("click", "u1", "TH-1", "search")
    assert (bare.request_id, bare.position, bare.timestamp) == (None, None, NOW)
    assert len(bare.event_id) == 32
    (full,) = read(
        CLICK | {"event_id": "e1", "request_id": "r1", "domain": "rec", "timestamp": "2026-05-01T18:00:00+07:00"}
    )
    assert (full.event_id, full.request_id, full.domain) == ("e1", "r1", "rec")
    assert full.timestamp == NOW - timedelta(hours=1)
    assert full.timestamp.tzinfo is UTC
    (seen,) = read(CLICK | {"type": "impression", "request_id": "r1", "position": 3})
    assert (seen.type, seen.position) == ("impression", 3)
    (ahead,) = read(CLICK | {"timestamp": "2026-05-01T12:00:30Z"})
    assert ahead.timestamp == NOW  # a log holds no future


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "buy"}, r"events\[1\]\.type: Input should be 'impression', 'click', 'cart' or 'purchase'"),
        ({"type": None}, r"events\[1\]\.type"),
        ({"user_id": "\u2003"}, r"events\[1\]\.user_id: .*is blank"),
        ({"user_id": "u" * 257}, r"events\[1\]\.user_id: .*257 bytes, at most 256"),
        ({"user_id": "a\nb"}, r"events\[1\]\.user_id: .*control character"),
        ({"user_id": 7}, r"events\[1\]\.user_id: .*valid string"),
        ({"item_id": "nowhere"}, r"events\[1\]\.item_id: not in this release's catalogue"),
        ({"domain": "mail"}, r"events\[1\]\.domain"),
        ({"timestamp": "2026-05-01T12:00:00"}, r"events\[1\]\.timestamp: .*timezone"),
        ({"timestamp": "yesterday"}, r"events\[1\]\.timestamp"),
        ({"timestamp": "2026-05-01T12:02:00Z"}, r"events\[1\]\.timestamp: .*until now"),
        ({"timestamp": "1999-12-31T23:59:59Z"}, r"events\[1\]\.timestamp: .*from 2000"),
        ({"position": 1}, r"events\[1\]\.position: only an impression"),
        ({"type": "impression"}, r"events\[1\]\.request_id: missing"),
        ({"type": "impression", "request_id": "r", "position": 0}, r"events\[1\]\.position: .*greater than or equal"),
        ({"surprise": 1}, r"events\[1\]\.surprise: Extra inputs"),
    ],
)
def test_a_broken_rule_names_the_place(change: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(CLICK, CLICK | change)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body: Invalid JSON"),
        (b"[]", "body: Input should be an object"),
        (b"{}", "events: Field required"),
        (b'{"events": []}', "events: List should have at least 1 item"),
        (b'{"events": [{"type": "\xff"}]}', "body: Invalid JSON"),
        (b'{"events": [{"type": "click", "user_id": "\\ud800", "item_id": "TH-1"}]}', "Invalid JSON|user_id"),
        (b'{"events": ' + b"[" * 100_000, "body: Invalid JSON"),
        (json.dumps({"events": [CLICK] * (MAX_EVENTS + 1)}).encode(), f"at most {MAX_EVENTS} items"),
    ],
)
def test_a_broken_body_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_events(body, CATALOGUE, NOW)
