"""Features that follow from stored values and the request's own time: one function for the join and for serving.

Depends on numpy alone. Columns may have n rows, or one row that all n share: a search's user and query are such.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from components.contracts.features import FEATURES, GAP_EDGES_S, SEQUENCES, VIEWS, padded

# Exposures for which a query's own click rate counts in that of a query and item.
QUERY_RATE_STRENGTH = 10.0
_HOUR_S, _DAY_S = 3_600, 86_400
_MONDAY = 3  # 1970-01-01 was a Thursday, three days after one
_FILLED = {f.name: f.unknown for f in FEATURES if f.kind == "numeric" and f.unknown == f.unknown}
_STORED_SEQUENCES = tuple(f.name for f in SEQUENCES if f.view in VIEWS)


def epoch_seconds(moment: datetime) -> int:
    """Whole seconds since 1970 UTC: the time that features know."""
    return int(moment.timestamp() // 1)


def complete(stored: Mapping[str, Any], at_s: np.ndarray) -> dict[str, Any]:
    """Every feature's column: the stored ones, gaps filled with what stands for unknown, and those that follow.

    Args:
        stored: columns of stored features and facts and of what the caller states (market_code, domain_code): numbers
            (n,) or (1,), NaN or None where nothing is stored; sequences as `contracts.features.padded` takes them.
        at_s: int64 (n,) or (1,), the requests' times, as `epoch_seconds` has them.

    Ages are never below 0: an event that was pushed while its time was still to come happened just now.

    Raises:
        KeyError: a stored column is missing.
    """
    return dict(stored) | of_sequences(stored, at_s) | of_numbers(stored, at_s)


def of_sequences(stored: Mapping[str, Any], at_s: np.ndarray) -> dict[str, np.ndarray]:
    """Sequences, padded, and what follows from them: needs their columns alone, n is their number of rows."""
    columns = {name: padded(stored[name]) for name in _STORED_SEQUENCES}
    times = {name: padded(stored[f"{name}_at"]) for name in ("clicked", "purchased", "searched")}
    columns |= {f"{name}_gaps": _gap_codes(times_nL, at_s) for name, times_nL in times.items()}
    for name, behaviour in (("click", "clicked"), ("purchase", "purchased"), ("search", "searched")):
        columns[f"user_since_{name}"] = _since(times[behaviour][:, 0], at_s) / _HOUR_S
    return columns


def of_numbers(stored: Mapping[str, Any], at_s: np.ndarray) -> dict[str, np.ndarray]:
    """What follows from the other columns, and those of them that may have gaps."""

    def number(name: str) -> np.ndarray:
        return np.asarray(stored[name], dtype=np.float64)

    def since(name: str) -> np.ndarray:
        return _since(number(name), at_s)

    columns = {name: _filled(number(name), unknown) for name, unknown in _FILLED.items()}
    query_clicks = number("query_clicks_30d")
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(query_clicks > 0, columns["query_category_clicks_30d"] / query_clicks, 0 * query_clicks)
    return columns | {
        "user_age": since("user_seen_at") / _DAY_S,
        "user_since_query": since("user_query_at") / _HOUR_S,
        "item_age": since("item_seen_at") / _DAY_S,
        "item_since_click": since("item_clicked_at") / _HOUR_S,
        "price_gap": number("price_log") - number("user_price_log_30d"),
        "query_item_ctr_30d": (columns["query_item_clicks_30d"] + QUERY_RATE_STRENGTH * number("query_ctr_30d"))
        / (columns["query_item_exposures_30d"] + QUERY_RATE_STRENGTH),
        "query_category_share_30d": share,
        "hour": at_s // _HOUR_S % 24 + 1,
        "weekday": (at_s // _DAY_S + _MONDAY) % 7 + 1,
    }


def _filled(values: np.ndarray, unknown: float) -> np.ndarray:
    return np.where(np.isnan(values), unknown, values)


def _since(then_s: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Seconds from `then_s` to `at_s`, NaN where there is no such time."""
    return np.where(then_s > 0, np.maximum(at_s - then_s, 0), np.nan)


def _gap_codes(times_nL: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Codes of how long ago each event of a sequence was, 0 where there is none."""
    gaps = np.searchsorted(np.array(GAP_EDGES_S), at_s[:, None] - times_nL, side="right") + 1
    return np.where(times_nL > 0, gaps, 0)
