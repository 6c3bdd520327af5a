"""A seeded marketplace of six markets, in the log contract, with its ground-truth utility beside it (simulated data).

Nothing here is a real user, item or query. Choices (ours; every number is a dial of `MarketplaceConfig`):

- Each market has random streams of its own: neither the order of markets nor which others there are changes its rows.
- Utility = relevance + the user's affinity to the item; it is the logit of a click once the item is looked at.
- Positions further down are looked at less; a purchase comes after a click, in up to three days.
- The logging policy ranks by a noisy guess at relevance, and by popularity or utility as a dial says.
- After a share of searches the user comes back for candidates outside search: what ES3 is to find again.
- Sessions, a longer tail of queries, candidates of a request's own, arrivals, weekends and sales are there if dialled.
- Titles and queries mix languages, as each market's shops do; some queries have slips of the finger.
- Three annotators grade pooled items, and err now and then; their median counts.
- `drift` moves popularity, prices, queries and language in the last days; 0 by default.
"""

import resource
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.contracts.casting import to_utc
from components.contracts.markets import DOMAINS
from components.contracts.schemas import EVENT_TYPES, TIMESTAMP
from components.contracts.tools.log import get_logger, track
from components.contracts.tools.manifest import stage_directory, write_manifest
from components.marketplace.config import MarketplaceConfig
from components.marketplace.report import write_log_report
from components.marketplace.simulator.behaviour import NO_REQUEST, Events, Lists, react
from components.marketplace.simulator.browsing import REC, SHOP, make_recommendations, make_shop_visits, return_directly
from components.marketplace.simulator.catalogue import make_catalogue
from components.marketplace.simulator.judgments import make_judgments
from components.marketplace.simulator.queries import Queries, make_queries
from components.marketplace.simulator.search import SEARCH, make_searches, make_wants
from components.marketplace.simulator.timeline import make_timeline
from components.marketplace.simulator.users import make_users
from components.marketplace.simulator.world import ABSENT, make_ids, stream
from components.marketplace.simulator.writing import LogWriter

_logger = get_logger(__name__)


@dataclass(frozen=True)
class _Traffic:
    """Lists by domain code, all events, and each request's number in the market's order of time."""

    lists: tuple[Lists, Lists, Lists]
    events: Events
    number: tuple[np.ndarray, np.ndarray, np.ndarray]


def simulate(config: MarketplaceConfig, as_of: datetime, out: Path) -> None:
    """Write a simulated log that ends at `as_of` to the directory `out`, replacing it as a whole.

    Six tables of the log contract, `oracle.parquet` (of every candidate of every search request, the utility as the
    logit of a click once examined, and the chance of a click at its place in the list) and `manifest.json` (kind "log",
    simulated true). Markets are made and written one after the other, so memory grows with the largest of them.

    Args:
        config: sizes and dials; the seed decides every row.
        as_of: the instant the log ends at (naive: taken as UTC).
        out: directory to make.
    """
    started = time.perf_counter()
    with stage_directory(out) as root:
        with LogWriter(root) as writer:
            for market in track(sorted(config.markets), "simulating markets", len(config.markets)):
                writer.add(simulate_market(config, as_of, market))
        rows = writer.rows
        write_log_report(root, simulated=True)
        write_manifest(
            root,
            "log",
            config.model_dump(mode="json"),
            inputs={},
            metrics={"rows": rows},
            simulated=True,
            markets=list(config.markets),
            as_of=to_utc(as_of).isoformat(),
        )
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _logger.info(
        "simulated %d events, %d candidates in %.1f s (%.0f events/s), peak memory %.0f MB",
        rows["events"], rows["candidates"], seconds, rows["events"] / seconds, peak_mb,
    )  # fmt: skip


def simulate_market(config: MarketplaceConfig, as_of: datetime, market: str) -> dict[str, pa.Table]:
    """The tables of one market, `oracle` among them."""
    catalogue = make_catalogue(config, market)
    users = make_users(config, catalogue)
    queries = make_queries(config, catalogue)
    timeline = make_timeline(config, market, as_of)
    rng = stream(config.seed, market, "behaviour")
    searches = make_searches(rng, config, timeline, catalogue, users, queries)
    found = react(rng, config, timeline, searches, SEARCH)
    wants = make_wants(rng, config, searches, found)
    direct, wants = return_directly(rng, config, wants)
    recs = make_recommendations(rng, config, timeline, catalogue, users, searches, wants)
    shops = make_shop_visits(rng, config, timeline, catalogue, users, searches, wants)
    events = Events.join(
        [found, direct, react(rng, config, timeline, recs, REC), react(rng, config, timeline, shops, SHOP)]
    )
    # What happens after the log ends is not in it.
    events = events.take(events.time_n < timeline.end)
    events = events.take(np.argsort(events.time_n, kind="stable"))
    traffic = _Traffic((searches, recs, shops), events, _number_requests((searches, recs, shops)))
    items = catalogue.table()
    user_table = users.table()
    request_ids = make_ids(f"{market}-r", sum(len(lists.time_R) for lists in traffic.lists), 8)
    return {
        "items": items,
        "users": user_table,
        "requests": _requests(market, traffic, request_ids, user_table["user_id"], queries),
        "candidates": _candidates(traffic, request_ids, items["item_id"]),
        "events": _events(market, traffic, request_ids, user_table["user_id"], items["item_id"]),
        "judgments": make_judgments(config, catalogue, queries),
        "oracle": _oracle(config, traffic, request_ids, items["item_id"]),
    }


def _number_requests(lists: tuple[Lists, Lists, Lists]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place of every request of the three domains in one order of time."""
    times = np.concatenate([part.time_R for part in lists])
    number = np.empty(len(times), dtype=np.int64)
    number[np.argsort(times, kind="stable")] = np.arange(len(times))
    first, second = len(lists[0].time_R), len(lists[0].time_R) + len(lists[1].time_R)
    return number[:first], number[first:second], number[second:]


def _requests(
    market: str, traffic: _Traffic, request_ids: pa.Array, user_ids: pa.ChunkedArray, queries: Queries
) -> pa.Table:
    number = np.concatenate(traffic.number)
    domain = np.repeat(np.arange(len(DOMAINS)), [len(part.time_R) for part in traffic.lists])
    subject = np.concatenate([part.subject_R for part in traffic.lists])
    query = pa.array(queries.texts, pa.string()).take(pa.array(subject, mask=domain != SEARCH))
    user = np.concatenate([part.user_R for part in traffic.lists])
    times = np.concatenate([part.time_R for part in traffic.lists])
    table = pa.table(
        {
            "request_id": request_ids.take(pa.array(number)),
            "user_id": user_ids.take(pa.array(user)),
            "market": pa.repeat(market, len(number)),
            "domain": pa.array(DOMAINS, pa.string()).take(pa.array(domain)),
            "query": query,
            "timestamp": pa.array(times).cast(TIMESTAMP),
        }
    )
    return table.take(pa.array(np.argsort(number)))


def _candidates(traffic: _Traffic, request_ids: pa.Array, item_ids: pa.ChunkedArray) -> pa.Table:
    parts = []
    for lists, number in zip(traffic.lists, traffic.number, strict=True):
        request, place = np.nonzero(lists.item_RC != ABSENT)
        position = place.astype(np.int32) + 1
        parts.append(
            pa.table(
                {
                    "request_id": request_ids.take(pa.array(number[request])),
                    "item_id": item_ids.take(pa.array(lists.item_RC[request, place])),
                    "position": pa.array(position, mask=position > lists.depth_R[request]),
                }
            )
        )
    return pa.concat_tables(parts)


def _events(
    market: str, traffic: _Traffic, request_ids: pa.Array, user_ids: pa.ChunkedArray, item_ids: pa.ChunkedArray
) -> pa.Table:
    events = traffic.events
    number = np.zeros(len(events.time_n), dtype=np.int64)
    for domain, numbers in enumerate(traffic.number):
        own = (events.domain_n == domain) & (events.request_n != NO_REQUEST)
        number[own] = numbers[events.request_n[own]]
    return pa.table(
        {
            "event_id": make_ids(f"{market}-e", len(number), 8),
            "user_id": user_ids.take(pa.array(events.user_n)),
            "item_id": item_ids.take(pa.array(events.item_n)),
            "domain": pa.array(DOMAINS, pa.string()).take(pa.array(events.domain_n)),
            "request_id": request_ids.take(pa.array(number, mask=events.request_n == NO_REQUEST)),
            "type": pa.array(EVENT_TYPES, pa.string()).take(pa.array(events.type_n)),
            "timestamp": pa.array(events.time_n).cast(TIMESTAMP),
        }
    )


def _oracle(config: MarketplaceConfig, traffic: _Traffic, request_ids: pa.Array, item_ids: pa.ChunkedArray) -> pa.Table:
    searches = traffic.lists[SEARCH]
    request, place = np.nonzero(searches.item_RC != ABSENT)
    return pa.table(
        {
            "request_id": request_ids.take(pa.array(traffic.number[SEARCH][request])),
            "item_id": item_ids.take(pa.array(searches.item_RC[request, place])),
            "utility": pa.array(searches.utility_RC[request, place].astype(np.float32)),
            "click_chance": pa.array(searches.click_chance(config)[request, place].astype(np.float32)),
        }
    )
