"""When requests happen, and in which period (before or after drift).

Shapes: n times.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from components.contracts.casting import to_utc
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.behaviour import DAY, HOUR

# Share of requests in each local hour: quiet nights, a lunch hump, a long evening.
_HOURS = np.array([3, 2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7, 6, 5, 5, 5, 5, 6, 8, 9, 9, 7, 5], dtype=np.float64)
_UTC_OFFSET = {"ID": 7, "MY": 8, "PH": 8, "SG": 8, "TH": 7, "VN": 7}


@dataclass(frozen=True)
class Timeline:
    """The log's span in microseconds since 1970: [start, end), and when drift sets in (end if it never does)."""

    start: int
    end: int
    drift: int
    utc_offset: int

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n request times, in no order, following the hours of the market's day."""
        hour = rng.choice(24, size=n, p=_HOURS / _HOURS.sum()) - self.utc_offset + rng.random(n)
        day = rng.integers((self.end - self.start) // DAY, size=n)
        within = (hour * HOUR).astype(np.int64) % DAY
        # The log need not start at midnight: times of day count from the real one.
        return self.start + day * DAY + (within - self.start % DAY) % DAY

    def period(self, time_n: np.ndarray) -> np.ndarray:
        """0 before drift, 1 from then on."""
        return np.asarray(time_n >= self.drift).astype(np.int64)


def make_timeline(config: MarketplaceConfig, market: str, as_of: datetime) -> Timeline:
    """The timeline of a market's log that ends at `as_of` (naive: taken as UTC)."""
    end = (to_utc(as_of) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    drift = end - int(config.drift_days * DAY) if config.drift > 0 else end
    return Timeline(end - config.days * DAY, end, drift, _UTC_OFFSET[market])
