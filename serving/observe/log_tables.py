"""Requests and events as rows of the log contract (`components.contracts.schemas`), with what serving knows besides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa

from components.contracts.schemas import CANDIDATES, EVENTS, IMPRESSIONS, REQUESTS, TIMESTAMP, TableSchema
from serving.observe.exchange import Exchange
from serving.observe.pseudonym import Pseudonyms

IMPRESSION = "impression"


@dataclass(frozen=True)
class Event:
    """What a user did: an event of the contract, or an impression.

    Attributes:
        event_id: its key.
        user_id: as the caller names the user.
        item_id: what it was done to.
        domain: where: search, rec or shop.
        request_id: of the answer it belongs to, if any.
        type: click, cart, purchase or impression.
        timestamp: when.
        position: 1-based place on the page, of an impression; none means the place in the answer.
    """

    event_id: str
    user_id: str
    item_id: str
    domain: str
    request_id: str | None
    type: str
    timestamp: datetime
    position: int | None = None


def log_tables(
    searches: Sequence[Exchange], events: Sequence[Event], pseudonyms: Pseudonyms, release: str
) -> dict[str, pa.Table]:
    """Tables by name, those without rows left out.

    Args:
        searches: answered ones.
        events: impressions among them.
        pseudonyms: of users.
        release: name of the release that answered: column `release` of requests.

    `position` of a candidate is null: which ones were exposed is known when impressions come. `rank` is its 1-based
    place in the answer.
    """
    actions = [event for event in events if event.type != IMPRESSION]
    impressions = [event for event in events if event.type == IMPRESSION]
    tables = {
        "requests": _requests(searches, pseudonyms, release),
        "candidates": _candidates(searches),
        "events": _events(actions, EVENTS, pseudonyms),
        "impressions": _events(impressions, IMPRESSIONS, pseudonyms),
    }
    return {name: table for name, table in tables.items() if table.num_rows}


def _requests(searches: Sequence[Exchange], pseudonyms: Pseudonyms, release: str) -> pa.Table:
    rows = len(searches)
    return pa.table(
        {
            "request_id": pa.array([each.request_id for each in searches], pa.string()),
            "user_id": pa.array([pseudonyms.of(each.user_id or "") for each in searches], pa.string()),
            "market": pa.array([each.market for each in searches], pa.string()),
            "domain": pa.array(["search"] * rows, pa.string()),
            "query": pa.array([each.query for each in searches], pa.string()),
            "timestamp": pa.array([each.time for each in searches], TIMESTAMP),
            "release": pa.array([release] * rows, pa.string()),
        }
    ).select([*REQUESTS.columns, "release"])


def _candidates(searches: Sequence[Exchange]) -> pa.Table:
    pages = [each.page or {} for each in searches]
    lengths = [len(page["item_ids"]) for page in pages]
    ranks = chain.from_iterable(range(1, length + 1) for length in lengths)
    ids = chain.from_iterable(repeat(each.request_id, n) for each, n in zip(searches, lengths, strict=True))
    total = sum(lengths)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([page[name] for page in pages]) if pages else np.empty(0)

    floats = {name: pa.array(joined(name), pa.float32()) for name in ("score", "relevance", "p_click", "p_purchase")}
    return pa.table(
        {
            "request_id": pa.array(ids, pa.string(), size=total),
            "item_id": pa.array(joined("item_ids").tolist(), pa.string()),
            "position": pa.nulls(total, pa.int32()),
            "rank": pa.array(ranks, pa.int32(), size=total),
            **floats,
            "relevance_source": pa.array(joined("relevance_source").tolist(), pa.binary()).cast(pa.string()),
        }
    ).select([*CANDIDATES.columns, "rank", *floats, "relevance_source"])


def _events(events: Sequence[Event], schema: TableSchema, pseudonyms: Pseudonyms) -> pa.Table:
    def value(event: Event, name: str) -> Any:
        return pseudonyms.of(event.user_id) if name == "user_id" else getattr(event, name)

    return pa.table(
        {name: pa.array([value(e, name) for e in events], column.type) for name, column in schema.columns.items()}
    )
