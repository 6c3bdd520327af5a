"""A small random log and its relevance scores, in the log contract: uniform draws, no behaviour modelled."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from components.contracts import schemas
from components.contracts.schemas import TableSchema
from components.contracts.tables import validate, write_table
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import write_manifest

AS_OF = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
MARKETS = ("ID", "TH")
SHOWN = 4


def write_toy_log(
    root: Path,
    *,
    users: int = 12,
    items: int = 30,
    requests: int = 200,
    candidates: int = 8,
    days: int = 40,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write `root/log` and `root/scores`; returns both. Half of the events happen at another event's instant or day."""
    rng = np.random.default_rng(seed)
    start = AS_OF - timedelta(days=days)

    def times(n: int) -> pd.Series:
        return pd.Series(pd.Timestamp(start) + pd.to_timedelta(rng.integers(0, days * 86_400, n), unit="s")).astype(
            "datetime64[us, UTC]"
        )

    user_market = rng.choice(MARKETS, users)
    item_market = rng.choice(MARKETS, items)
    texts = ["Red Shoe", "red  shoe", "เคสมือถือ", "ＢＡＧ", "bag", "kipas angin"]
    who = rng.integers(0, users, requests)
    domain = rng.choice(["search", "search", "rec", "shop"], requests)
    request = pd.DataFrame(
        {
            "request_id": [f"r{i}" for i in range(requests)],
            "user_id": [f"u{i}" for i in who],
            "market": user_market[who],
            "domain": domain,
            "query": np.where(domain == "search", rng.choice(texts, requests), None),
            "timestamp": times(requests),
        }
    )
    n = requests * candidates
    candidate = pd.DataFrame(
        {
            "request_id": np.repeat(request["request_id"], candidates).to_numpy(),
            "item_id": [f"i{i}" for _ in range(requests) for i in rng.choice(items, candidates, replace=False)],
            "position": np.where(np.arange(n) % candidates < SHOWN, np.arange(n) % candidates + 1, 0),
        }
    )
    candidate["position"] = candidate["position"].astype("Int32").replace(0, pd.NA)
    event = candidate.dropna().sample(frac=0.7, random_state=seed).merge(request, on="request_id")
    delay = pd.to_timedelta(rng.choice([1, 1, 60, 7_200, 86_400], len(event)), unit="s")
    moment = event["timestamp"] + delay
    # Some events share an instant, and some belong to no request.
    moment = moment.where(rng.random(len(event)) < 0.7, moment.dt.floor("h"))
    event = pd.DataFrame(
        {
            "event_id": [f"e{i}" for i in range(len(event))],
            "user_id": event["user_id"],
            "item_id": event["item_id"],
            "domain": event["domain"],
            "request_id": event["request_id"].where(rng.random(len(event)) < 0.9, None),
            "type": rng.choice(["click", "click", "cart", "purchase"], len(event)),
            "timestamp": moment.astype("datetime64[us, UTC]"),
        }
    )
    event = event[event["timestamp"] <= pd.Timestamp(AS_OF)]
    tables = [
        (
            schemas.ITEMS,
            pd.DataFrame(
                {
                    "item_id": [f"i{i}" for i in range(items)],
                    "market": item_market,
                    "title": [f"thing {i}" for i in range(items)],
                    "category": rng.choice(["shoes", "bags", "fans"], items),
                    "price": rng.integers(1, 9, items) * 1.5,
                    "brand": rng.choice(["Acme", "", None], items),
                }
            ),
        ),
        (schemas.USERS, pd.DataFrame({"user_id": [f"u{i}" for i in range(users)], "market": user_market})),
        (schemas.REQUESTS, request),
        (schemas.CANDIDATES, candidate),
        (schemas.EVENTS, event),
    ]
    log = root / "log"
    for schema, frame in tables:
        _write(frame, schema, log / f"{schema.name}.parquet")
    write_manifest(log, "log", {}, {}, simulated=True, markets=list(MARKETS), as_of=AS_OF.isoformat())

    pairs = candidate.merge(request[request["domain"] == "search"], on="request_id")
    pairs = pairs.assign(query=pairs["query"].map(normalise_query))[["market", "query", "item_id"]].drop_duplicates()
    pairs = pairs.sample(frac=0.8, random_state=seed)
    pairs["relevance"] = rng.random(len(pairs)).astype(np.float32)
    pairs["experts"] = [[0, 1]] * len(pairs)
    _write(pairs, schemas.RELEVANCE_SCORES, root / "scores" / "scores.parquet")
    write_manifest(root / "scores", "scores", {}, {})
    return log, root / "scores"


def _write(frame: pd.DataFrame, schema: TableSchema, path: Path) -> None:
    write_table(validate(pa.Table.from_pandas(frame, preserve_index=False), schema, path.name), path)
