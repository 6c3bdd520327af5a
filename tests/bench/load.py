"""Load on a served release, and what it costs: requests made beforehand, closed-loop clients, CPU time from /proc."""

import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import numpy as np
import psutil
import pyarrow.parquet as pq

Call: TypeAlias = Callable[[], None]


@dataclass(frozen=True)
class Asked:
    """One search."""

    market: str
    user_id: str
    query: str
    item_ids: tuple[str, ...]

    def body(self) -> bytes:
        """As V2's JSON."""
        inputs = {"market": [self.market], "user_id": [self.user_id], "query": [self.query], "item_ids": self.item_ids}
        tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": list(v)} for n, v in inputs.items()]
        return json.dumps({"inputs": tensors}).encode()


@dataclass(frozen=True)
class Loaded:
    """What clients saw: seconds of each request, and of the whole."""

    latencies_s: list[float]
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered."""
        return len(self.latencies_s) / self.seconds

    def ms(self, percent: float) -> float:
        """A percentile of the latency."""
        return round(float(np.percentile(self.latencies_s, percent)) * 1000, 2)


def stored_searches(release: Path, items: int, count: int, seed: int = 0) -> list[Asked]:
    """Searches whose relevance is all stored, of random known users, random items of those that a query has scored."""
    chance = random.Random(seed)
    scored = pq.read_table(release / "features" / "relevance.parquet", columns=["query_key", "item_id"]).to_pandas()
    by_query = scored.groupby("query_key")["item_id"].agg(list)
    queries = by_query[by_query.map(len) >= items]
    users = pq.read_table(release / "features" / "user_profile.parquet", columns=["user_id"])["user_id"].to_pylist()
    asked = []
    for _ in range(count):
        key = chance.choice(list(queries.index))
        market, _, query = key.partition(":")
        user = chance.choice([user for user in users if user.startswith(market)] or users)
        asked.append(Asked(market, user, query, tuple(chance.sample(queries[key], items))))
    return asked


def unseen_searches(release: Path, items: int, count: int, seed: int = 0) -> list[Asked]:
    """Searches of which no relevance is stored."""
    return [
        Asked(asked.market, asked.user_id, f"{asked.query} {seed}-{number}", asked.item_ids)
        for number, asked in enumerate(stored_searches(release, items, count, seed))
    ]


def over_http(url: str, searches: Sequence[Asked]) -> Callable[[], Call]:
    """A maker of clients with a connection each, that ask one search after the other."""
    parts = urlsplit(url)
    bodies = [asked.body() for asked in searches]

    def connect() -> Call:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        order = iter(random.choices(bodies, k=100_000))

        def ask() -> None:
            connection.request("POST", "/v2/models/search/infer", next(order), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{answer.status}: {text[:200]!r}")

        return ask

    return connect


class Crowd:
    """Closed-loop clients in threads, until `stop`; entering waits until each was answered once."""

    def __init__(self, connect: Callable[[], Call], clients: int) -> None:
        self._stop = threading.Event()
        self._warm = threading.Barrier(clients + 1)
        self._begin = threading.Event()
        self._results: list[list[float]] = [[] for _ in range(clients)]
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(connect, results), daemon=True) for results in self._results
        ]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        self._warm.wait(120)
        self._started = time.perf_counter()
        self._begin.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.perf_counter() - self._started
        if self._errors:
            raise self._errors[0]

    def _run(self, connect: Callable[[], Call], results: list[float]) -> None:
        try:
            ask = connect()
            ask()
            self._warm.wait(120)
            self._begin.wait()
            while not self._stop.is_set():
                started = time.perf_counter()
                ask()
                results.append(time.perf_counter() - started)
        except BaseException as error:
            self._errors.append(error)
            raise

    def loaded(self) -> Loaded:
        """What the clients saw."""
        return Loaded([value for results in self._results for value in results], self.seconds)


def load(connect: Callable[[], Call], clients: int, seconds: float) -> Loaded:
    """Run clients for a while."""
    with Crowd(connect, clients) as crowd:
        time.sleep(seconds)
    return crowd.loaded()


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that processes and their children have used so far, from /proc."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        process = psutil.Process(pid)
        found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    times = [process.cpu_times() for process in found.values()]
    return float(sum(time.user + time.system for time in times))


def cpu_ms_a_request(connect: Callable[[], Call], pids: Sequence[int], requests: int) -> float:
    """CPU milliseconds of processes for one request, over many of one client; the processes are idle otherwise."""
    ask = connect()
    for _ in range(20):
        ask()
    before = cpu_s(pids)
    for _ in range(requests):
        ask()
    return round((cpu_s(pids) - before) / requests * 1000, 2)


def own_pid() -> int:
    """This process, for clients that do part of the work."""
    return os.getpid()
