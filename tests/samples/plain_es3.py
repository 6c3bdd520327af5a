"""ES3's labels and fates once more, event by event in plain Python: the reference for the relational version."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from components.samples.config import SamplesConfig
from tests.samples.hand_log import HandLog, day

TIERS = ["clicked", "exposed", "exposed_not_clicked", "unexposed"]
BOUNDARY, TRAIN, IMMATURE = day(-5), day(-18), day(-8)
LABEL, CLICK, PURCHASE = timedelta(days=3), timedelta(days=1), timedelta(days=3)
TOGETHER = "goes with its journey"


@dataclass
class Row:
    request: dict[str, Any]
    item: str
    exposed: bool
    clicked_at: datetime | None = None
    click: int = 0
    purchase: int = 0


class PlainES3:
    """Rows of the training window with entire-space labels, and each non-search event's fate."""

    def __init__(self, log: HandLog, theta: float) -> None:
        self.requests = {request["request_id"]: request for request in log.requests}
        self.rows = [
            Row(self.requests[c["request_id"]], c["item_id"], c["position"] is not None)
            for c in log.candidates
            if self.requests[c["request_id"]]["domain"] == "search"
        ]
        labels = [e for e in log.events if e["type"] != "cart"]
        for event in labels:
            for row in self.rows:
                matches = (row.request["request_id"], row.item) == (event["request_id"], event["item_id"])
                if matches and timedelta(0) <= event["timestamp"] - row.request["timestamp"] <= LABEL:
                    row.clicked_at = min(row.clicked_at or event["timestamp"], event["timestamp"])
                    row.click = 1
                    row.purchase |= event["type"] == "purchase"
        self.log = log
        self.tier: dict[str, str] = {}
        self.fate: dict[str, str] = {}
        self.elsewhere = [e for e in labels if not self._is_search(e)]
        for event in self.elsewhere:
            if event["timestamp"] >= BOUNDARY:
                self.fate[event["event_id"]] = "after the boundary"
        early = [e for e in self.elsewhere if e["timestamp"] < BOUNDARY]
        self.journeys: dict[str, list[dict[str, Any]]] = {}
        for event in early:
            self.journeys.setdefault(self._first(event, early), []).append(event)
        for journey in self.journeys.values():
            self._attribute(journey, theta)
        self._searchify()

    def _is_search(self, event: dict[str, Any]) -> bool:
        request = self.requests.get(event["request_id"])
        return (request or event)["domain"] == "search"

    def _first(self, event: dict[str, Any], early: list[dict[str, Any]]) -> str:
        """Id of the click a purchase follows, or the event's own."""
        before = [
            e
            for e in early
            if (e["type"], event["type"]) == ("click", "purchase")
            and (e["user_id"], e["item_id"]) == (event["user_id"], event["item_id"])
            and timedelta(0) <= event["timestamp"] - e["timestamp"] <= PURCHASE
        ]
        return min(before or [event], key=lambda e: (-e["timestamp"].timestamp(), e["event_id"]))["event_id"]

    def _matches(self, event: dict[str, Any], theta: float) -> list[tuple[Row, str]]:
        """Search rows that may have caused an event, with their tiers."""
        at, is_click = event["timestamp"], event["type"] == "click"
        found = []
        for row in self.rows:
            searched = row.request["timestamp"]
            score = self.log.relevance.get((row.request["query"], row.item), 0.9)
            if (row.request["user_id"], row.item) != (event["user_id"], event["item_id"]):
                continue
            if not (searched < at and at - searched <= (CLICK if is_click else PURCHASE)):
                continue
            if score is None or score < theta:
                continue
            if is_click:
                tier = "exposed" if row.exposed else "unexposed"
            elif row.clicked_at is not None and row.clicked_at < at:
                tier = "clicked"
            else:
                tier = "exposed_not_clicked" if row.exposed else "unexposed"
            found.append((row, tier))
        return found

    def _attribute(self, journey: list[dict[str, Any]], theta: float) -> None:
        matches = [(event, row, tier) for event in journey for row, tier in self._matches(event, theta)]
        if not matches:
            return

        def preference(match: tuple[dict[str, Any], Row, str]) -> tuple[bool, int, float, str]:
            event, row, tier = match
            when = row.request["timestamp"].timestamp()
            return event["type"] == "click", TIERS.index(tier), -when, row.request["request_id"]

        _, chosen, tier = min(matches, key=preference)
        inside = TRAIN <= chosen.request["timestamp"] < IMMATURE
        for event in journey:
            self.tier[event["event_id"]] = tier
            itself = any(row is chosen for one, row, _ in matches if one is event)
            fate = "attributed" if inside else "attributed outside the training window"
            self.fate[event["event_id"]] = fate if itself else TOGETHER
            if inside:
                chosen.click = 1
                chosen.purchase |= itself and event["type"] == "purchase"

    def _source(self, event: dict[str, Any]) -> Any:
        source = self.requests.get(event["request_id"])
        return source["timestamp"] if source else event["timestamp"] - timedelta(microseconds=1)

    def _searchify(self) -> None:
        started: set[tuple[str, str, str, str]] = set()
        for journey in self.journeys.values():
            journey.sort(key=lambda e: (e["type"], e["timestamp"], e["event_id"]))
        left = [journey for journey in self.journeys.values() if journey[0]["event_id"] not in self.fate]
        for first, *following in sorted(left, key=lambda j: (j[0]["timestamp"], j[0]["event_id"])):
            at = self._source(first)
            page = (first["type"], first["request_id"] or first["event_id"], first["user_id"], first["item_id"])
            if first["timestamp"] - at > LABEL or first["timestamp"] < at:
                fate = "outside the label window of its page"
            elif at < TRAIN:
                fate = "before the training window"
            elif at >= IMMATURE:
                fate = "immature"
            elif not self._has_negative(first, at):
                fate = "no negative on its page"
            else:
                fate = "repeated on its page" if page in started else "searchified"
                started.add(page)
            self.fate[first["event_id"]] = fate
            for purchase in following:
                kept = fate in ("searchified", "repeated on its page")
                late = purchase["timestamp"] - at > LABEL
                joins = "joined its click" if kept else "its click was not searchified"
                self.fate[purchase["event_id"]] = "outside the label window of its page" if late else joins

    def _has_negative(self, event: dict[str, Any], at: Any) -> bool:
        """Whether the event's page lists a similar item that was left alone there, and that nobody wanted soon."""
        touched = {
            e["item_id"]
            for e in self.log.events
            if e["request_id"] == event["request_id"] and e["timestamp"] < BOUNDARY
        }
        wanted = {
            e["item_id"]
            for e in self.log.events
            if e["type"] != "cart" and e["user_id"] == event["user_id"] and e["timestamp"] < BOUNDARY
            if timedelta(0) < e["timestamp"] - at <= (CLICK if e["type"] == "click" else PURCHASE)
        }
        listed = {c["item_id"] for c in self.log.candidates if c["request_id"] == event["request_id"]}
        return any(self._similar(item, event["item_id"]) for item in listed - touched - wanted - {event["item_id"]})

    def _similar(self, item: str, clicked: str) -> bool:
        left, right = self.log.items[item], self.log.items[clicked]
        a, b = (np.array(one["vector"]) / np.linalg.norm(one["vector"]) for one in (left, right))
        return left["category"] == right["category"] or float(a @ b) >= SamplesConfig().theta_neg
