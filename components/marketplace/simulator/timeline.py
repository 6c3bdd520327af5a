"""When requests happen: hours of the day, weekdays, sales, and the period (before or after drift).

Times are int64 microseconds since 1970, UTC. Shapes: n times, H hours of the log.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from components.contracts.casting import to_utc
from components.marketplace.config import MarketplaceConfig

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
# Share of requests in each local hour: quiet nights, a lunch hump, a long evening.
_HOURS = np.array([3, 2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7, 6, 5, 5, 5, 5, 6, 8, 9, 9, 7, 5], dtype=np.float64)
_UTC_OFFSET = {"ID": 7, "MY": 8, "PH": 8, "SG": 8, "TH": 7, "VN": 7}


@dataclass(frozen=True)
class Timeline:
    """The log's span, [start, end), and what happens when in it.

    Attributes:
        drift: when drift sets in; `end` if it never does.
        utc_offset: hours that the market's clocks are ahead of UTC.
        sale_days: days of a sale, 1 the last 24 hours of the log.
        share_H: share of the requests in each hour of the log; None: every day is like another.
    """

    start: int
    end: int
    drift: int
    utc_offset: int
    sale_days: tuple[int, ...] = ()
    share_H: np.ndarray | None = None

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n request times, in no order, following the hours of the market's day, its weekdays and sales."""
        if self.share_H is not None:
            hours = rng.choice(len(self.share_H), size=n, p=self.share_H) + rng.random(n)
            return self.start + (hours * HOUR).astype(np.int64)
        hour = rng.choice(24, size=n, p=_HOURS / _HOURS.sum()) - self.utc_offset + rng.random(n)
        day = rng.integers((self.end - self.start) // DAY, size=n)
        within = (hour * HOUR).astype(np.int64) % DAY
        # The log need not start at midnight: times of day count from the real one.
        return self.start + day * DAY + (within - self.start % DAY) % DAY

    def period(self, time_n: np.ndarray) -> np.ndarray:
        """0 before drift, 1 from then on."""
        return np.asarray(time_n >= self.drift).astype(np.int64)

    def on_sale(self, time_n: np.ndarray) -> np.ndarray:
        """Whether a sale is on (n,)."""
        return np.isin((self.end - 1 - time_n) // DAY + 1, self.sale_days)

    def share(self, time_n: np.ndarray) -> np.ndarray:
        """How much of the log has passed (n,), 0 <= share < 1."""
        return np.asarray((time_n - self.start) / (self.end - self.start))


def make_timeline(config: MarketplaceConfig, market: str, as_of: datetime) -> Timeline:
    """The timeline of a market's log that ends at `as_of` (naive: taken as UTC)."""
    end = (to_utc(as_of) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    drift = end - int(config.drift_days * DAY) if config.drift > 0 else end
    flat = Timeline(end - config.days * DAY, end, drift, _UTC_OFFSET[market], config.sale_days)
    if config.weekend == 1 and not config.sale_days:
        return flat
    hour_H = flat.start + HOUR * np.arange(24 * config.days)
    local_H = hour_H // HOUR + flat.utc_offset
    # The first day of 1970 was a Thursday.
    weekend_H = (local_H // 24 + 3) % 7 >= 5
    weight_H = _HOURS[local_H % 24] * np.where(weekend_H, config.weekend, 1.0)
    weight_H *= np.where(flat.on_sale(hour_H), config.sale_traffic, 1.0)
    return replace(flat, share_H=weight_H / weight_H.sum())
