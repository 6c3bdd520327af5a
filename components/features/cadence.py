"""When a server's store would have known: instants of visibility, as Ibis expressions.

Counts end at midnight UTC and are there once the run that follows has written them; who or what is new is known from
the next run on; sequences are pushed. Seconds are whole, so that engines agree.
"""

from datetime import datetime

import ibis

from components.features.config import FeaturesConfig
from components.features.source import SECONDS_A_DAY

_HOUR_S = 3_600


def after_midnight(day: ibis.Value, config: FeaturesConfig) -> ibis.Value:
    """When counts that end where a day begins (days since 1970) are in the store."""
    return (day * SECONDS_A_DAY + _delay_s(config)).cast("int64").as_timestamp("s")


def after_refresh(moment: ibis.Value, config: FeaturesConfig) -> ibis.Value:
    """When what was logged at a moment is in the store: with the first run that begins later."""
    every = config.refresh_every_hours * _HOUR_S
    return ((moment.epoch_seconds() // every + 1) * every + _delay_s(config)).cast("int64").as_timestamp("s")


def after_push(moment: ibis.Value, config: FeaturesConfig) -> ibis.Value:
    """When a click or purchase is in its user's sequences."""
    microseconds = round(config.push_delay_s * 1_000_000) + 1
    return moment + ibis.interval(microseconds=microseconds)


def last_day(as_of: datetime, config: FeaturesConfig) -> int:
    """The last day (days since 1970) whose beginning counts that are in the store at `as_of` reach."""
    return (int(as_of.timestamp()) - _delay_s(config)) // SECONDS_A_DAY


def last_refresh(as_of: datetime, config: FeaturesConfig) -> datetime:
    """When the last run before `as_of` had written what it knew."""
    every, delay = config.refresh_every_hours * _HOUR_S, _delay_s(config)
    begun = (int(as_of.timestamp()) - delay) // every * every
    return datetime.fromtimestamp(begun + delay, as_of.tzinfo)


def _delay_s(config: FeaturesConfig) -> int:
    return round(config.refresh_delay_hours * _HOUR_S)
