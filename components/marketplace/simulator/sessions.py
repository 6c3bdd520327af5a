"""Who searches for what, and when: sessions of searches that repeat, refine or turn to something new.

Shapes: R requests, S sessions, U users, Q queries, P periods.
"""

from dataclasses import dataclass

import numpy as np

from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.queries import Queries
from components.marketplace.simulator.timeline import SECOND, Timeline
from components.marketplace.simulator.users import Users
from components.marketplace.simulator.world import cumulative, draw_present, draw_rows, stream, weights


@dataclass(frozen=True)
class Asked:
    """Search requests in order of time (R,): whose, of which query, and when."""

    user_R: np.ndarray
    query_R: np.ndarray
    time_R: np.ndarray


def make_sessions(
    rng: np.random.Generator, config: MarketplaceConfig, timeline: Timeline, users: Users, queries: Queries
) -> Asked:
    """The market's search requests."""
    shape = stream(config.seed, users.market, "sessions")
    length_S = shape.geometric(1 / config.session_searches, size=config.search_requests)
    n_sessions = int(np.searchsorted(np.cumsum(length_S), config.search_requests)) + 1
    # Session by session, and in each the first search before the second: the last session is cut to the number wanted.
    session_R = np.repeat(np.arange(n_sessions), length_S[:n_sessions])[: config.search_requests]
    first_S = np.flatnonzero(np.r_[True, session_R[1:] != session_R[:-1]])
    step_R = np.arange(len(session_R)) - first_S[session_R]

    start_S = np.sort(timeline.draw(rng, n_sessions))
    time_R = _times(shape, config, timeline, start_S, session_R, step_R)
    user_R = users.draw(rng, timeline.share(time_R[first_S]))[session_R]
    query_R = _first_queries(rng, config, users, queries, timeline, user_R, time_R)
    _follow(shape, config, queries, timeline.share(time_R), step_R, query_R)
    order = np.argsort(time_R, kind="stable")
    return Asked(user_R[order], query_R[order], time_R[order])


def _times(
    shape: np.random.Generator,
    config: MarketplaceConfig,
    timeline: Timeline,
    start_S: np.ndarray,
    session_R: np.ndarray,
    step_R: np.ndarray,
) -> np.ndarray:
    """When each search is made: a session's first at its start, the others after pauses, none after the log's end."""
    pause_R = np.where(step_R > 0, 1 + shape.exponential(60 * config.session_pause, size=len(step_R)), 0.0)
    passed_R = np.cumsum((pause_R * SECOND).astype(np.int64))
    first_S = np.flatnonzero(step_R == 0)
    time_R = start_S[session_R] + passed_R - passed_R[first_S][session_R]
    late_S = np.maximum(np.maximum.reduceat(time_R, first_S) - (timeline.end - 1), 0)
    return np.asarray(np.maximum(time_R - late_S[session_R], timeline.start))


def _first_queries(
    rng: np.random.Generator,
    config: MarketplaceConfig,
    users: Users,
    queries: Queries,
    timeline: Timeline,
    user_R: np.ndarray,
    time_R: np.ndarray,
) -> np.ndarray:
    """A query for each request as if it were alone: often asked ones, and those about what its user likes."""
    liking_UQ = weights(config.query_taste * users.type_taste_UT[:, queries.type_Q])
    period_R = timeline.period(time_R)
    cumulative_P = [cumulative(liking_UQ * frequency_Q) for frequency_Q in queries.frequency_PQ]

    def draw(rows: np.ndarray) -> np.ndarray:
        uniform = rng.random(len(rows))
        drawn = np.zeros(len(rows), dtype=np.int64)
        for period, cumulative_UQ in enumerate(cumulative_P):
            now = period_R[rows] == period
            drawn[now] = draw_rows(cumulative_UQ, user_R[rows][now], uniform[now])
        return drawn

    return draw_present(draw, queries.arrival_Q, timeline.share(time_R))


def _follow(
    shape: np.random.Generator,
    config: MarketplaceConfig,
    queries: Queries,
    share_R: np.ndarray,
    step_R: np.ndarray,
    query_R: np.ndarray,
) -> None:
    """Turn later searches of sessions, in place, into repeats and refinements of the one before."""
    fate_R = shape.random(len(step_R))
    alike = _Alike(queries)
    for step in range(1, int(step_R.max()) + 1):
        here = np.flatnonzero(step_R == step)
        repeats = here[fate_R[here] < config.repeat]
        query_R[repeats] = query_R[repeats - 1]
        refines = here[(fate_R[here] >= config.repeat) & (fate_R[here] < config.repeat + config.refine)]
        another = alike.draw(shape, query_R[refines - 1])
        # What is not asked yet, or has no other query of its kind, stays as it was.
        known = queries.arrival_Q[another] <= share_R[refines]
        query_R[refines] = np.where(known, another, query_R[refines - 1])


class _Alike:
    """Other queries for the same type of product, drawn by their frequency before drift."""

    def __init__(self, queries: Queries) -> None:
        self._order = np.argsort(queries.type_Q, kind="stable")
        self._place = np.argsort(self._order)
        by_type = queries.type_Q[self._order]
        weight = queries.frequency_PQ[0][self._order]
        self._until = np.cumsum(weight)
        self._before = self._until - weight
        self._low = np.searchsorted(by_type, by_type, side="left")
        self._high = np.searchsorted(by_type, by_type, side="right") - 1

    def draw(self, rng: np.random.Generator, query_n: np.ndarray) -> np.ndarray:
        """One for each query; the query itself where it is the only one of its type."""
        place = self._place[query_n]
        low, high = self._low[place], self._high[place]
        own = self._until[place] - self._before[place]
        mass = self._before[low] + rng.random(len(place)) * (self._until[high] - self._before[low] - own)
        # The query's own stretch is cut out of its type's.
        mass = np.where(mass >= self._before[place], mass + own, mass)
        found = np.clip(np.searchsorted(self._until, mass, side="right"), low, high)
        return np.asarray(self._order[found])
