"""Whether retrieval finds what people mean: recall@50 with one field and with two, and before either.

    python -m tests.bench.bench_retrieval [--data FOLDER]

On the laptop's simulated log: of the items judged relevant to a query (grade .5 or more), the share among the first 50.
On real titles (`tiki_vi`, `prdect_id` in FOLDER, where it is there): queries made from 1,000 titles each, three
neighbouring words as they stand, without accents, with two of the words as one, and with a hyphen between two; a query
counts when its own title is among the first 50. Writes retrieval.json in tests/bench/results.
"""

import argparse
import re
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from components.contracts.text import normalise_query
from components.contracts.tools.manifest import write_json
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate
from serving.retrieval import TitleIndex, Tokens
from serving.search_tokens import exact_tokens, folded_tokens
from tests.bench.measured import RESULTS, ROOT, machine

FIRST, QUERIES, WORDS = 50, 1000, 3
_UNSPACED = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(f"([{_UNSPACED}]+)|((?:(?![{_UNSPACED}])\\w)+)")


def words_and_trigrams(text: str) -> Iterator[str]:
    """What was indexed before: runs of an unspaced script as threes alone."""
    for unspaced, word in _RUN.findall(normalise_query(text)):
        if len(unspaced) > 3:
            yield from (unspaced[start : start + 3] for start in range(len(unspaced) - 2))
        else:
            yield unspaced or word


WAYS: dict[str, Sequence[Tokens]] = {
    "words and trigrams": (words_and_trigrams,),
    "exact field": (exact_tokens,),
    "exact and folded": (exact_tokens, folded_tokens),
}


def indexes(titles: Sequence[str]) -> Iterator[tuple[str, TitleIndex]]:
    """Each way of indexing."""
    for name, fields in WAYS.items():
        yield name, TitleIndex(titles, fields)


def first(index: TitleIndex, query: str) -> np.ndarray:
    """The rows that come back."""
    scores = index.scores(query)
    found = np.flatnonzero(scores > 0)
    return found[np.argsort(-scores[found], kind="stable")][:FIRST]


def of_titles(titles: Sequence[str]) -> dict[str, dict[str, float]]:
    """Kind of query -> way of indexing -> share of queries whose title comes back."""
    random = np.random.default_rng(0)
    asked: list[tuple[int, dict[str, str]]] = []
    for row in random.permutation(len(titles)):
        words = normalise_query(titles[row]).split()
        if len(words) < WORDS + 1 or len(asked) == QUERIES:
            continue
        start = int(random.integers(len(words) - WORDS + 1))
        asked.append((int(row), {name: make(words[start : start + WORDS]) for name, make in KINDS.items()}))
    found: dict[str, dict[str, float]] = {name: {} for name in KINDS}
    for way, index in indexes(titles):
        for kind in KINDS:
            hits = [row in first(index, queries[kind]) for row, queries in asked]
            found[kind][way] = round(float(np.mean(hits)), 4)
    return found


def without_accents(text: str) -> str:
    """As one types on a keyboard without them."""
    plain = unicodedata.normalize("NFD", text.replace("đ", "d"))
    return "".join(character for character in plain if not unicodedata.combining(character))


KINDS: dict[str, Callable[[list[str]], str]] = {
    "as written": " ".join,
    "without accents": lambda words: without_accents(" ".join(words)),
    "two words as one": lambda words: " ".join([words[0], words[1] + words[2]]),
    "hyphenated": lambda words: f"{words[0]} {words[1]}-{words[2]}",
}


def of_log(log: Path) -> dict[str, dict[str, float]]:
    """Market -> way of indexing -> mean share of a query's relevant items among the first."""
    items, judged = (pd.read_parquet(log / f"{name}.parquet") for name in ("items", "judgments"))
    recall: dict[str, dict[str, float]] = {}
    for market, own in items.groupby("market"):
        own = own.sort_values("item_id").reset_index(drop=True)
        place = dict(zip(own["item_id"], own.index, strict=True))
        relevant = judged[(judged["market"] == market) & (judged["grade"] >= 0.5)]
        asked = relevant[relevant["item_id"].isin(place)].groupby("query")["item_id"]
        wanted = {query: {place[item] for item in rows} for query, rows in asked}
        recall[str(market)] = {}
        for way, index in indexes(own["title"].tolist()):
            shares = [len(rows & set(first(index, query))) / len(rows) for query, rows in wanted.items()]
            recall[str(market)][way] = round(float(np.mean(shares)), 4)
    return recall


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    result: dict[str, object] = {"command": "python -m tests.bench.bench_retrieval", "machine": machine()}
    result |= {"first": FIRST, "simulated": True}
    with tempfile.TemporaryDirectory() as folder:
        simulate(MarketplaceConfig(), datetime(2026, 1, 1, tzinfo=UTC), Path(folder) / "log")
        result["log"] = of_log(Path(folder) / "log")
    print(result["log"], flush=True)
    if data.is_dir():
        tiki = pd.concat([pd.read_csv(path) for path in sorted((data / "tiki_vi").glob("*.csv.gz"))])
        prdect = pd.read_csv(next((data / "prdect_id").glob("*.csv.gz")), sep=";")
        titles = {"tiki_vi": tiki["name"], "prdect_id": prdect["Product Name"]}
        result["titles"] = {}
        for name, column in titles.items():
            distinct = column.dropna().drop_duplicates().tolist()
            started = time.perf_counter()
            found = of_titles(distinct)
            result["titles"] |= {name: {"titles": len(distinct), "recall": found}}  # type: ignore[operator]
            print(name, len(distinct), found, f"{time.perf_counter() - started:.0f} s", flush=True)
    write_json(RESULTS / "retrieval.json", result)


if __name__ == "__main__":
    main()
