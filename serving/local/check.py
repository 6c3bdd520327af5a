"""Compare what a service answers with the offline answers that its release carries."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from components.contracts.errors import ArchipelagoError
from components.contracts.tools.manifest import read_manifest
from serving import client

T = TypeVar("T")
_SCORES = ("score", "relevance", "p_click", "p_purchase")


class ServedDifferently(ArchipelagoError):
    """A service and its release's golden answers disagree."""


def check_serving(release: Path, url: str) -> dict[str, Any]:
    """Send the golden requests of a release and compare the answers.

    Returns:
        requests (number sent), p50_ms and p99_ms (of all, one after the other), p50_stored_ms and p50_computed_ms (of
        searches whose relevance was all stored, or in part computed; null without any), max_abs_diff (of any score).

    Raises:
        ServedDifferently: scores differ by more than the release's tolerance; or a page is out of order, its items,
            sources or experts are others, or `user_known` is.
        Unavailable: the service does not answer.
    """
    tolerance = read_manifest(release)["config"]["serving_tolerance"]
    seconds: dict[str, list[float]] = {"relevance": [], "stored": [], "computed": []}
    worst = 0.0
    with httpx.Client() as http:
        pairs = pq.read_table(release / "golden" / "relevance.parquet").to_pandas()
        for size in (1, len(pairs)):  # alone, and in one batch with every market
            for start in range(0, len(pairs), size):
                part = pairs.iloc[start : start + size]
                worst = max(worst, _check_pairs(part, url, http, seconds["relevance"]))
        golden = release / "golden" / "search.parquet"
        if golden.is_file():
            for _, rows in pq.read_table(golden).to_pandas().groupby("request", sort=True):
                path = "computed" if (rows["relevance_source"] == "computed").any() else "stored"
                worst = max(worst, _check_page(rows, url, http, seconds[path]))
    if not worst <= tolerance:
        raise ServedDifferently(f"{url}: served scores differ from offline ones by {worst:.2e}, tolerance {tolerance}")
    every = [value for values in seconds.values() for value in values]
    return {
        "requests": len(every),
        "p50_ms": _percentile(every, 50),
        "p99_ms": _percentile(every, 99),
        "p50_stored_ms": _percentile(seconds["stored"], 50),
        "p50_computed_ms": _percentile(seconds["computed"], 50),
        "max_abs_diff": worst,
    }


def _check_pairs(pairs: pd.DataFrame, url: str, http: httpx.Client, seconds: list[float]) -> float:
    markets, queries, titles = (pairs[name].tolist() for name in ("market", "query", "title"))
    relevance, experts = _timed(seconds, lambda: client.relevance(url, markets, queries, titles, http))
    if experts.tolist() != [list(chosen) for chosen in pairs["experts"]]:
        raise ServedDifferently(f"{url}: other experts were chosen than offline for some of {queries[:3]}")
    return float(np.abs(relevance - pairs["relevance"].to_numpy()).max())


def _check_page(rows: pd.DataFrame, url: str, http: httpx.Client, seconds: list[float]) -> float:
    first = rows.iloc[0]
    where = f"{url}: golden request {first['request']} ({first['kind']}, {first['market']}, {first['query']!r})"
    page = _timed(
        seconds,
        lambda: client.search(
            url, first["market"], first["user_id"], first["query"], rows["item_id"].tolist(), http, first["timestamp"]
        ),
    )
    served = pd.DataFrame([vars(row) for row in page])
    if sorted(served["item_id"]) != sorted(rows["item_id"]):
        raise ServedDifferently(f"{where}: the page holds other items than were asked for")
    in_order = served.sort_values(["score", "item_id"], ascending=[False, True], kind="stable")
    if not in_order.index.equals(served.index):
        raise ServedDifferently(f"{where}: the page is not sorted by score, then item id")
    if page.user_known != first["user_known"]:
        raise ServedDifferently(f"{where}: user_known is {page.user_known}")
    expected = rows.set_index("item_id").loc[served["item_id"]]
    if served["relevance_source"].tolist() != expected["relevance_source"].tolist():
        raise ServedDifferently(f"{where}: sources of relevance are {sorted(set(served['relevance_source']))}")
    return float(np.abs(served[list(_SCORES)].to_numpy() - expected[list(_SCORES)].to_numpy()).max())


def _timed(seconds: list[float], call: Callable[[], T]) -> T:
    started = time.perf_counter()
    answer = call()
    seconds.append(time.perf_counter() - started)
    return answer


def _percentile(seconds: list[float], percent: float) -> float | None:
    return round(float(np.percentile(seconds, percent)) * 1000, 2) if seconds else None
