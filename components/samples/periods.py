"""The periods of a log, counted back from its end: history | train | valid | test | as_of.

One window of labels holds for all of them: what happened within `label_days` after a request. So each period ends with
as many days whose requests are immature, since their labels are complete only after the next period has begun: they
are no samples.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import ibis

from components.contracts.schemas import SPLITS
from components.samples.config import SamplesConfig

IMMATURE = "immature "


@dataclass(frozen=True)
class Periods:
    """Where each period begins and its mature part ends (UTC; beginnings are inclusive, ends are not).

    `valid_start` is the boundary that no training row's label crosses: events from then on are never used for one.
    """

    label_days: int
    train_start: datetime
    train_end: datetime
    valid_start: datetime
    valid_end: datetime
    test_start: datetime
    test_end: datetime

    @classmethod
    def before(cls, as_of: datetime, config: SamplesConfig) -> "Periods":
        """The periods of a log that ends at `as_of` (taken as UTC where it has no time zone)."""
        begins = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
        edges: dict[str, datetime] = {}
        for split in reversed(SPLITS):
            edges[f"{split}_end"] = begins - timedelta(days=config.label_days)
            begins = edges[f"{split}_end"] - timedelta(days=getattr(config, f"{split}_days"))
            edges[f"{split}_start"] = begins
        return cls(config.label_days, **edges)

    def __str__(self) -> str:
        edges = (f"{split} {self._edge(split, 'start')} to {self._edge(split, 'end')}" for split in SPLITS)
        return f"{', '.join(edges)} UTC"

    def _edge(self, split: str, which: str) -> str:
        edge: datetime = getattr(self, f"{split}_{which}")
        return f"{edge:%Y-%m-%d %H:%M}"

    def period(self, timestamp: ibis.Value) -> ibis.Value:
        """Name of the period a timestamp falls into: history, a split, or IMMATURE and the split it ends."""
        edges = [
            (self.train_start, "history"),
            (self.train_end, "train"),
            (self.valid_start, IMMATURE + "train"),
            (self.valid_end, "valid"),
            (self.test_start, IMMATURE + "valid"),
            (self.test_end, "test"),
        ]
        return ibis.cases(*((timestamp < ibis.literal(edge), name) for edge, name in edges), else_=IMMATURE + "test")

    def labels(self, request_time: ibis.Value, event_time: ibis.Value) -> ibis.Value:
        """Whether an event is a label of a request of that time: it lies within the label window after it."""
        window = ibis.interval(days=self.label_days)
        return (event_time >= request_time) & (event_time <= request_time + window)
