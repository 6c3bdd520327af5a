"""Search requests: who searches what, what the logging policy shows, and what users later want elsewhere.

Shapes: R requests, C candidates, U users, Q queries, P periods, W wants.
"""

from dataclasses import dataclass

import numpy as np

from components.contracts.markets import DOMAIN_CODES
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.behaviour import PURCHASE, Events, Lists, rank_lists
from components.marketplace.simulator.catalogue import Catalogue
from components.marketplace.simulator.queries import TOP_LEVEL, Queries
from components.marketplace.simulator.timeline import Timeline
from components.marketplace.simulator.users import Users
from components.marketplace.simulator.world import cumulative, draw_rows

SEARCH = DOMAIN_CODES["search"]
# Utility of a search candidate: SEARCH_BIAS + RELEVANCE_WEIGHT * grade + affinity (our choice).
SEARCH_BIAS, RELEVANCE_WEIGHT = -3.6, 3.0
# The logging policy's score: retrieval's noisy guess at relevance, and popularity or utility by the dial.
RETRIEVAL_WEIGHT, RETRIEVAL_NOISE, POLICY_NOISE = 1.0, 0.35, 0.5


@dataclass(frozen=True)
class Wants:
    """Items that users look for again after a search, sorted by user, then time (W,)."""

    user_W: np.ndarray
    item_W: np.ndarray
    time_W: np.ndarray

    def latest(self, user_R: np.ndarray, time_R: np.ndarray, back: int, within: int) -> np.ndarray:
        """Index of each user's `back`-th latest want before `time_R` (1: the latest), not older than `within`
        microseconds; -1 where there is none.
        """
        if not len(self.user_W):
            return np.full(len(user_R), -1)
        origin = min(int(self.time_W.min()), int(time_R.min()))
        span = max(int(self.time_W.max()), int(time_R.max())) - origin + 1
        keys = self.user_W * span + (self.time_W - origin)
        place = np.searchsorted(keys, user_R * span + (time_R - origin)) - back
        found = np.maximum(place, 0)
        fits = (place >= 0) & (self.user_W[found] == user_R) & (time_R - self.time_W[found] <= within)
        return np.where(fits, found, -1)


def make_searches(
    rng: np.random.Generator,
    config: MarketplaceConfig,
    timeline: Timeline,
    catalogue: Catalogue,
    users: Users,
    queries: Queries,
) -> Lists:
    """The market's search requests, in order of time, with their ranked candidates."""
    n = config.search_requests
    time_R = np.sort(timeline.draw(rng, n))
    period_R = timeline.period(time_R)
    user_R = rng.choice(len(users.activity_U), size=n, p=users.activity_U)
    query_R = _draw_queries(rng, users, queries, user_R, period_R)
    item_RC = queries.pool_QC[query_R]
    affinity_RC = users.search_affinity_PUI[period_R[:, None], user_R[:, None], item_RC]
    grade_QC = (queries.level_QC / TOP_LEVEL).astype(np.float32)
    utility_RC = SEARCH_BIAS + RELEVANCE_WEIGHT * grade_QC[query_R] + affinity_RC
    # Retrieval's error is drawn per query and item, not per request: it errs the same way each time.
    guess_QC = grade_QC + rng.normal(scale=RETRIEVAL_NOISE, size=grade_QC.shape)
    score_RC = RETRIEVAL_WEIGHT * guess_QC[query_R].astype(np.float32)
    score_RC += (1 - config.policy_utility) * catalogue.popularity_PI[period_R[:, None], item_RC]
    score_RC += config.policy_utility * affinity_RC
    score_RC += POLICY_NOISE * rng.gumbel(size=item_RC.shape)
    order_RC, depth_R = rank_lists(rng, item_RC, score_RC, config.page_size)
    return Lists(
        user_R,
        query_R,
        time_R,
        np.take_along_axis(item_RC, order_RC, axis=1),
        depth_R,
        np.take_along_axis(utility_RC, order_RC, axis=1),
    )


def _draw_queries(
    rng: np.random.Generator, users: Users, queries: Queries, user_R: np.ndarray, period_R: np.ndarray
) -> np.ndarray:
    """A query for each request: often asked ones, and those about what its user likes."""
    liking_UQ = np.exp(1.3 * users.type_taste_UT[:, queries.type_Q])
    uniform_R = rng.random(len(user_R))
    query_R = np.zeros(len(user_R), dtype=np.int64)
    for period, frequency_Q in enumerate(queries.frequency_PQ):
        now = period_R == period
        query_R[now] = draw_rows(cumulative(liking_UQ * frequency_Q), user_R[now], uniform_R[now])
    return query_R


def make_wants(rng: np.random.Generator, config: MarketplaceConfig, searches: Lists, events: Events) -> Wants:
    """Wants that searches leave behind: after a share of them, the user still wants one of the candidates.

    It may be one that was not shown. Better utility makes it likelier; what was bought at once is left out.
    """
    bought = events.take(events.type_n == PURCHASE)
    bought_RC = np.zeros(searches.item_RC.shape, dtype=bool)
    places = searches.item_RC[bought.request_n] == bought.item_n[:, None]
    bought_RC[bought.request_n] |= places
    appeal_RC = np.where(
        rng.random(len(searches.user_R))[:, None] < config.elsewhere_noise, 0.0, 1.5 * searches.utility_RC
    )
    appeal_RC = np.where(bought_RC, -np.inf, appeal_RC + rng.gumbel(size=appeal_RC.shape))
    wanted = np.argmax(appeal_RC, axis=1)
    returns = np.flatnonzero(rng.random(len(wanted)) < config.elsewhere)
    item_W = searches.item_RC[returns, wanted[returns]]
    user_W, time_W = searches.user_R[returns], searches.time_R[returns]
    order = np.lexsort((time_W, user_W))
    return Wants(user_W[order], item_W[order], time_W[order])
