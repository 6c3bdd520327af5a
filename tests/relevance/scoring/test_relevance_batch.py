"""Batch scoring's order of work, with experts that only count: the same scores in any shards, and nothing held long."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from components.contracts.text import normalise_query, normalise_title
from components.relevance.scoring import batch
from components.relevance.scoring.batch import BatchMixture, RawPairs


@dataclass
class Expert:
    """Its vector of a pair is the length of its texts, times a factor of its own."""

    factor: float
    ran: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Nothing to load."""

    def prepare(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> list[str]:
        return [f"{market} {query} {title}" for market, query, title in zip(markets, queries, titles, strict=True)]

    def buffer(self, pairs: int) -> np.ndarray:
        return np.zeros((pairs, 1), dtype=np.float32)

    def run(self, batches: list[str], rows: np.ndarray, buffer: np.ndarray) -> None:
        self.ran += batches
        buffer[rows, 0] = [self.factor * len(text) for text in batches]


def scorer(experts: Sequence[Expert], routed: list[str] | None = None) -> BatchMixture:
    """Queries of an even length go to the first two experts, others to the last two."""

    def route(markets: Sequence[str], queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if routed is not None:
            routed.extend(queries)
        odd = np.array([len(query) % 2 for query in queries])
        chosen = np.stack([odd, odd + 1], axis=1)
        mask = np.zeros((len(queries), len(experts)), dtype=np.float32)
        np.put_along_axis(mask, chosen, 1, axis=1)
        return chosen, mask

    def lexical(queries: Sequence[str], titles: Sequence[str]) -> np.ndarray:
        return np.array([1_000.0 * len(query) - len(title) for query, title in zip(queries, titles, strict=True)])

    def fuse(buffers: Sequence[np.ndarray], mask: np.ndarray, lexical: np.ndarray) -> np.ndarray:
        return np.asarray((np.concatenate(buffers, axis=1) * mask).sum(axis=1) + lexical)

    return BatchMixture(normalise_query, normalise_title, route, experts, lexical, fuse, ahead=2)


def pairs(rows: int) -> RawPairs:
    return (
        ["ID", "TH"] * (rows // 2),
        [f"  Query {'x' * (row % 5)}" for row in range(rows)],
        [f"Title {row % 7}" for row in range(rows)],
    )


def test_scores_are_the_same_in_any_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_PIECE", 3)
    markets, queries, titles = pairs(60)
    experts = [Expert(1.0), Expert(10.0), Expert(100.0)]
    whole, chosen = scorer(experts).score(markets, queries, titles)
    expected = [
        (11 if len(query.strip()) % 2 == 0 else 110) * len(f"ID {query.strip().lower()} {title}")
        + 1_000 * len(query.strip())
        - len(title)
        for query, title in zip(queries, titles, strict=True)
    ]
    np.testing.assert_allclose(whole, expected)
    assert chosen.tolist() == [[len(query.strip()) % 2, len(query.strip()) % 2 + 1] for query in queries]
    # Every distinct pair once, by each of its experts.
    distinct = {(m, q, t) for m, q, t in zip(markets, queries, titles, strict=True)}
    assert sum(len(expert.ran) for expert in experts) == 2 * len(distinct)
    for size in (2, 14, 60):
        cuts = [slice(start, start + size) for start in range(0, 60, size)]
        shards = [(markets[cut], queries[cut], titles[cut]) for cut in cuts]
        found = list(scorer([Expert(1.0), Expert(10.0), Expert(100.0)]).score_shards(shards))
        np.testing.assert_array_equal(np.concatenate([scores for scores, _ in found]), whole)
        np.testing.assert_array_equal(np.concatenate([experts for _, experts in found]), chosen)


def test_the_next_shard_is_routed_while_this_one_runs_and_no_more_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_PIECE", 1)  # so that a shard has more pieces than are prepared ahead
    routed: list[str] = []
    asked: list[int] = []
    second = threading.Event()

    class Patient(Expert):
        def run(self, batches: list[str], rows: np.ndarray, buffer: np.ndarray) -> None:
            assert second.wait(timeout=10), "the second shard is not routed before the first has run"
            super().run(batches, rows, buffer)

    def shards() -> Iterator[RawPairs]:
        for number in range(10):
            asked.append(number)
            yield ["ID"] * 4, [f"shard {number}"] * 4, [f"tas {place}" for place in range(4)]

    watched = scorer([Patient(1.0), Patient(2.0), Patient(3.0)], routed)
    route = watched.route

    def noted(markets: Sequence[str], queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        found = route(markets, queries)
        if len(routed) >= 2:
            second.set()
        return found

    object.__setattr__(watched, "route", noted)
    for number, _ in enumerate(watched.score_shards(shards())):
        # The next shard's first pieces are in the making, and the one after it is being routed.
        assert max(asked) <= number + 2
    assert asked == list(range(10))


def test_a_shard_that_fails_ends_the_scoring() -> None:
    def shards() -> Iterator[RawPairs]:
        yield ["ID"], ["a"], ["b"]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(scorer([Expert(1.0), Expert(2.0), Expert(3.0)]).score_shards(shards()))
