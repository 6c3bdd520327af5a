"""The periods of a log, counted back from its end: history | train | censored | valid | test | as_of."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import ibis

from components.samples.config import SamplesConfig


@dataclass(frozen=True)
class Periods:
    """Where each period begins (UTC, inclusive); each ends where the next begins.

    `valid_start` is the boundary that no training row's label crosses: events from then on are never used for one.
    """

    train_start: datetime
    train_end: datetime
    valid_start: datetime
    test_start: datetime

    @classmethod
    def before(cls, as_of: datetime, config: SamplesConfig) -> "Periods":
        """The periods of a log that ends at `as_of` (taken as UTC where it has no time zone)."""
        end = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
        test = end - timedelta(days=config.test_days)
        valid = test - timedelta(days=config.valid_days)
        censored = valid - timedelta(days=config.censored_days)
        return cls(censored - timedelta(days=config.train_days), censored, valid, test)

    def __str__(self) -> str:
        starts = (f"{name} from {start:%Y-%m-%d %H:%M}" for name, start in vars(self).items())
        return ", ".join(starts).replace("_start", "").replace("train_end", "censored") + " UTC"

    def period(self, timestamp: ibis.Value) -> ibis.Value:
        """Name of the period a timestamp falls into."""
        return ibis.cases(
            (timestamp < ibis.literal(self.train_start), "history"),
            (timestamp < ibis.literal(self.train_end), "train"),
            (timestamp < ibis.literal(self.valid_start), "censored"),
            (timestamp < ibis.literal(self.test_start), "valid"),
            else_="test",
        )

    def label_arrived(self, period: ibis.Value, event_time: ibis.Value) -> ibis.Value:
        """Whether an event came early enough to label a request of `period`: before the next evaluation period."""
        return ibis.cases(
            (period == "test", True),
            (period == "valid", event_time < ibis.literal(self.test_start)),
            else_=event_time < ibis.literal(self.valid_start),
        )
