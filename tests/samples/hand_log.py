"""Hand-made logs for the samples stage: a test says only what it is about, the rest has quiet defaults."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from components.contracts.engine import open_engine
from components.contracts.schemas import CANDIDATES, EVENTS, ITEMS, REQUESTS, TableSchema
from components.contracts.tables import write_table
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import write_manifest
from components.samples.config import PAPER_LABELS, SamplesConfig
from components.samples.entire_space import make_samples
from components.samples.inputs import read_inputs
from components.samples.periods import Periods
from tests.samples.stand_in_scores import write_encodings, write_scores

TEST_START = datetime(2026, 3, 31, 6, 30, tzinfo=UTC)
AS_OF = TEST_START + timedelta(days=6)
# History before day -18, train to -8, valid from -5 to -3, test from 0 to 3, each followed by three days of immature
# requests.
DAYS = {"train_days": 10, "valid_days": 2, "test_days": 3, "label_days": 3, "purchase_window_days": 3}
THETA = 0.5


def day(days: float, **more: float) -> datetime:
    """An instant, in days from the test window's beginning (and hours, seconds, microseconds)."""
    return TEST_START + timedelta(days=days, **more)


@dataclass
class HandLog:
    """A log in the making: items, search and browsing requests, events, pair scores and vectors.

    Every search pair scores 0.9 against a threshold of 0.5 unless `relevance` says otherwise (None: unscored). With
    `fill`, evaluation windows get one search each, by a user of their own, as the stage wants all three splits.
    """

    fill: bool = True
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    relevance: dict[tuple[str, str], float | None] = field(default_factory=dict)
    query_vectors: dict[str, list[float]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=lambda: {"TH": THETA, "VN": THETA})

    def item(
        self, item_id: str, category: str = "phones", vector: list[float] | None = None, market: str = "TH"
    ) -> str:
        self.items[item_id] = {"category": category, "vector": vector or [1.0, 0.0, 0.0], "market": market}
        return item_id

    def search(
        self,
        at: datetime,
        items: str,
        exposed: int = 1,
        query: str = "phone",
        user: str = "u",
        name: str | None = None,
        market: str = "TH",
    ) -> str:
        """A search whose candidates are `items` (split at spaces), the first `exposed` of them shown."""
        return self._request("search", at, items, exposed, query, user, name, market)

    def browse(
        self,
        at: datetime,
        items: str,
        domain: str = "rec",
        user: str = "u",
        name: str | None = None,
        market: str = "TH",
        exposed: int = 99,
    ) -> str:
        """A recommendation or shop request."""
        return self._request(domain, at, items, exposed, None, user, name, market)

    def _request(self, domain, at, items, exposed, query, user, name, market) -> str:  # type: ignore[no-untyped-def]
        request_id = name or f"r{len(self.requests)}"
        self.requests.append(
            {"request_id": request_id, "user_id": user, "market": market, "domain": domain, "query": query}
            | {"timestamp": at}
        )
        for place, item in enumerate(items.split(), start=1):
            if item not in self.items:
                self.item(item, market=market)
            self.candidates.append(
                {"request_id": request_id, "item_id": item, "position": place if place <= exposed else None}
            )
        return request_id

    def event(
        self, kind: str, item: str, at: datetime, request: str | None = None, domain: str | None = None, user: str = "u"
    ) -> str:
        """An event; its domain is that of its request, or rec."""
        if item not in self.items:
            self.item(item)
        domains = {row["request_id"]: row["domain"] for row in self.requests}
        event_id = f"e{len(self.events)}"
        self.events.append(
            {"event_id": event_id, "user_id": user, "item_id": item, "domain": domain or domains.get(request, "rec")}
            | {"request_id": request, "type": kind, "timestamp": at}
        )
        return event_id

    def found(self, kind: str, item: str, at: datetime, domain: str = "rec", user: str = "u") -> str:
        """An event on a page of its own, the instant before it, which also shows an item that is left alone."""
        market = self.items[item]["market"] if item in self.items else "TH"
        page = self.browse(at - timedelta(microseconds=1), f"{item} beside-{item}", domain, user, market=market)
        return self.event(kind, item, at, page, user=user)

    def write(self, root: Path, shuffle: int | None = None) -> tuple[Path, Path, Path]:
        """Write log, scores and encodings under `root`, rows in order or shuffled."""
        if self.fill:
            self.search(day(-4), "filler", user="filler", name="fill-valid")
            self.search(day(1), "filler", user="filler", name="fill-test")
            self.fill = False
        rng = np.random.default_rng(shuffle)

        def table(rows: list[dict[str, Any]], schema: TableSchema) -> pa.Table:
            rows = [rows[i] for i in rng.permutation(len(rows))] if shuffle is not None else rows
            fields = pa.schema([(name, column.type) for name, column in schema.columns.items()])
            return pa.Table.from_pylist(rows, schema=fields)

        items = [
            {"item_id": i, "title": i, "price": 1.0, "brand": None} | {k: v[k] for k in ("category", "market")}
            for i, v in self.items.items()
        ]
        log = root / "log"
        events = self.events or [
            {"event_id": "cart", "user_id": "filler", "item_id": "filler", "domain": "search", "request_id": None}
            | {"type": "cart", "timestamp": day(-1)}
        ]
        for name, rows, schema in (
            ("items", items, ITEMS),
            ("requests", self.requests, REQUESTS),
            ("candidates", self.candidates, CANDIDATES),
            ("events", events, EVENTS),
        ):
            write_table(table(rows, schema), log / f"{name}.parquet")
        write_manifest(log, "log", {}, {}, simulated=True, markets=["TH", "VN"], as_of=AS_OF.isoformat())
        self._write_models(root, log, rng, shuffle is not None)
        return log, root / "scores", root / "encodings"

    def _write_models(self, root: Path, log: Path, rng: np.random.Generator, shuffled: bool) -> None:
        searches = {r["request_id"]: r for r in self.requests if r["domain"] == "search"}
        pairs: dict[tuple[str, str, str], float | None] = {}
        for row in self.candidates:
            if row["request_id"] in searches:
                request = searches[row["request_id"]]
                query = normalise_query(request["query"])
                pairs[(request["market"], query, row["item_id"])] = self.relevance.get((query, row["item_id"]), 0.9)
        known = sorted((*key, score) for key, score in pairs.items() if score is not None)
        queries = sorted({key[:2] for key in pairs})
        items = sorted(self.items)
        if shuffled:
            known = [known[i] for i in rng.permutation(len(known))]
            queries = [queries[i] for i in rng.permutation(len(queries))]
            items = [items[i] for i in rng.permutation(len(items))]
        columns = dict(zip(("market", "query", "item_id", "relevance"), zip(*known, strict=True), strict=True))
        scores = pa.table({k: pa.array(v, pa.float32() if k == "relevance" else None) for k, v in columns.items()})
        write_scores(root / "scores", scores, self.thresholds, log)
        vectors = {key: np.array(self.query_vectors.get(key[1], [0.0, 1.0, 0.0]), np.float32) for key in queries}
        write_encodings(root / "encodings", {i: np.array(self.items[i]["vector"], np.float32) for i in items}, vectors)

    def make(self, root: Path, shuffle: int | None = None, **config: Any) -> "Made":
        """Write the log and run the stage in memory, with the paper's labels unless `config` says otherwise."""
        paths = self.write(root, shuffle)
        settings = SamplesConfig(**(DAYS | PAPER_LABELS | config))
        return make_apart(paths, settings)


def make_apart(paths: tuple[Path, Path, Path], settings: SamplesConfig) -> "Made":
    """Run the stage on what a log was written as, and take its tables off the engine."""
    with open_engine(settings) as engine:
        inputs = read_inputs(engine, *paths, AS_OF)
        made = make_samples(engine, inputs, settings, Periods.before(AS_OF, settings))
        tables = {name: table.to_pyarrow() for name, table in vars(made).items()}
    tables["samples"] = tables["samples"].sort_by([(c, "ascending") for c in ("timestamp", "request_id", "item_id")])
    for name in ("fates", "credited", "misses"):
        tables[name] = tables[name].sort_by("event_id")
    return Made(SimpleNamespace(**tables))


@dataclass(frozen=True)
class Made:
    """The stage's result, Arrow tables by the names of EntireSpace, easy to ask."""

    result: SimpleNamespace

    @property
    def samples(self) -> pd.DataFrame:
        return self.result.samples.to_pandas()

    def row(self, request_id: str, item_id: str) -> pd.Series:
        """The one sample of a request's candidate."""
        rows = self.samples
        found = rows[(rows["request_id"] == request_id) & (rows["item_id"] == item_id)]
        assert len(found) == 1, f"{len(found)} samples of {request_id}, {item_id}"
        return found.iloc[0]

    def has(self, request_id: str, item_id: str) -> bool:
        """Whether a request's candidate is a sample."""
        rows = self.samples
        return bool(((rows["request_id"] == request_id) & (rows["item_id"] == item_id)).any())

    @property
    def pseudo(self) -> pd.DataFrame:
        rows = self.samples
        return rows[rows["domain"] != "search"]

    def fate(self, event_id: str) -> str:
        fates = self.result.fates.to_pandas().set_index("event_id")["fate"]
        return str(fates[event_id])

    def tier(self, event_id: str) -> str | None:
        credited = self.result.credited.to_pandas().set_index("event_id")["tier"]
        return credited.get(event_id)
