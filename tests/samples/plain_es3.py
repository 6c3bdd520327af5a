"""ES3's labels and fates once more, event by event in plain Python: the reference for the relational version."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.samples.hand_log import HandLog, day

TIERS = ["clicked", "exposed", "exposed_not_clicked", "unexposed"]
BOUNDARY, TRAIN, CENSORED = day(-5), day(-18), day(-8)


@dataclass
class Row:
    request: dict[str, Any]
    item: str
    exposed: bool
    clicked_at: datetime | None = None
    click: int = 0
    purchase: int = 0


class PlainES3:
    """Rows of the training window with entire-space labels, and each non-search event's fate.

    Assumes that every event of a search request lies in the label time of its period.
    """

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
                if matches and event["timestamp"] < BOUNDARY:
                    row.clicked_at = min(row.clicked_at or event["timestamp"], event["timestamp"])
                    row.click = 1
                    row.purchase |= event["type"] == "purchase"
        self.elsewhere = [e for e in labels if not self._is_search(e)]
        self.tier: dict[str, str] = {}
        self.fate: dict[str, str] = {}
        for event in self.elsewhere:
            self._attribute(event, log.relevance, theta)
        self._searchify()

    def _is_search(self, event: dict[str, Any]) -> bool:
        request = self.requests.get(event["request_id"])
        return (request or event)["domain"] == "search"

    def _attribute(self, event: dict[str, Any], relevance: dict[tuple[str, str], float | None], theta: float) -> None:
        at, is_click = event["timestamp"], event["type"] == "click"
        if at >= BOUNDARY:
            self.fate[event["event_id"]] = "after the boundary"
            return
        window = timedelta(days=1 if is_click else 3)
        best: tuple[int, float, str] | None = None
        chosen: Row | None = None
        for row in self.rows:
            searched = row.request["timestamp"]
            score = relevance.get((row.request["query"], row.item), 0.9)
            if (row.request["user_id"], row.item) != (event["user_id"], event["item_id"]):
                continue
            if not (searched < at and at - searched <= window) or score is None or score < theta:
                continue
            if is_click:
                tier = "exposed" if row.exposed else "unexposed"
            elif row.clicked_at is not None and row.clicked_at < at:
                tier = "clicked"
            else:
                tier = "exposed_not_clicked" if row.exposed else "unexposed"
            preference = (TIERS.index(tier), -searched.timestamp(), row.request["request_id"])
            if best is None or preference < best:
                best, chosen, self.tier[event["event_id"]] = preference, row, tier
        if chosen is None:
            return
        inside = TRAIN <= chosen.request["timestamp"] < CENSORED
        self.fate[event["event_id"]] = "attributed" if inside else "attributed outside the training window"
        if inside:
            chosen.click = 1
            chosen.purchase |= not is_click

    def _searchify(self) -> None:
        left = [e for e in self.elsewhere if e["event_id"] not in self.fate]
        left.sort(key=lambda e: (e["timestamp"], e["event_id"]))
        started: dict[tuple[str, str, str, str], bool] = {}
        clicks = {e["event_id"]: e for e in self.elsewhere if e["type"] == "click"}
        for event in [e for e in left if e["type"] == "click"] + [e for e in left if e["type"] == "purchase"]:
            if event["type"] == "purchase":
                before = [
                    c
                    for c in clicks.values()
                    if (c["user_id"], c["item_id"]) == (event["user_id"], event["item_id"])
                    and timedelta(0) <= event["timestamp"] - c["timestamp"] <= timedelta(days=3)
                ]
                if before:
                    latest = min(before, key=lambda c: (-c["timestamp"].timestamp(), c["event_id"]))
                    kept = self.fate[latest["event_id"]] in ("searchified", "repeated on its page")
                    self.fate[event["event_id"]] = "joined its click" if kept else "its click was not searchified"
                    continue
            source = self.requests.get(event["request_id"])
            at = source["timestamp"] if source else event["timestamp"] - timedelta(microseconds=1)
            page = (event["type"], event["request_id"] or event["event_id"], event["user_id"], event["item_id"])
            if at < TRAIN:
                fate = "before the training window"
            elif at >= CENSORED:
                fate = "censored"
            else:
                fate = "repeated on its page" if page in started else "searchified"
                started[page] = True
            self.fate[event["event_id"]] = fate
