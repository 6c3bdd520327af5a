"""Search requests: what is retrieved and shown, and what users later want elsewhere.

Shapes: R requests, C candidates, Q queries, P places of a query's pool, W wants; in affinities P is a period.
"""

from dataclasses import dataclass

import numpy as np

from components.contracts.markets import DOMAIN_CODES
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.behaviour import PURCHASE, Events, Lists, rank_lists
from components.marketplace.simulator.catalogue import Catalogue
from components.marketplace.simulator.queries import TOP_LEVEL, Queries
from components.marketplace.simulator.sessions import make_sessions
from components.marketplace.simulator.timeline import Timeline
from components.marketplace.simulator.users import Users
from components.marketplace.simulator.world import ABSENT

SEARCH = DOMAIN_CODES["search"]


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
    asked = make_sessions(rng, config, timeline, users, queries)
    period_R = timeline.period(asked.time_R)
    grade_QP = (queries.level_QP / TOP_LEVEL).astype(np.float32)
    # Retrieval's error is drawn per query and item, not per request: it errs the same way each time.
    guess_QP = grade_QP + rng.normal(scale=config.retrieval_noise, size=grade_QP.shape)
    place_RC = _retrieve(rng, config, guess_QP, asked.query_R)
    query_RC = asked.query_R[:, None]
    item_RC = queries.pool_QP[query_RC, place_RC]
    affinity_RC = users.search_affinity_PUI[period_R[:, None], asked.user_R[:, None], item_RC]
    utility_RC = config.search_bias + config.relevance_weight * grade_QP[query_RC, place_RC] + affinity_RC
    score_RC = config.retrieval_weight * guess_QP[query_RC, place_RC].astype(np.float32)
    score_RC += (1 - config.policy_utility) * catalogue.popularity_PI[period_R[:, None], item_RC]
    score_RC += config.policy_utility * affinity_RC
    score_RC += config.policy_noise * rng.gumbel(size=item_RC.shape)
    item_RC = catalogue.listed(item_RC, timeline.share(asked.time_R))
    order_RC, depth_R = rank_lists(rng, item_RC, score_RC, config.page_size)
    return Lists(
        asked.user_R,
        asked.query_R,
        asked.time_R,
        np.take_along_axis(item_RC, order_RC, axis=1),
        depth_R,
        np.take_along_axis(utility_RC, order_RC, axis=1),
    )


def _retrieve(
    rng: np.random.Generator, config: MarketplaceConfig, guess_QP: np.ndarray, query_R: np.ndarray
) -> np.ndarray:
    """Places (R, C) in its query's pool of what each request retrieves: all of it, or the best by a jittered guess."""
    pool = guess_QP.shape[1]
    if pool == config.candidates:
        return np.broadcast_to(np.arange(pool), (len(query_R), pool))
    key_RP = config.retrieval_weight * guess_QP[query_R]
    key_RP += config.retrieval_jitter * rng.gumbel(size=key_RP.shape)
    return np.asarray(np.argpartition(-key_RP, config.candidates, axis=1)[:, : config.candidates])


def make_wants(rng: np.random.Generator, config: MarketplaceConfig, searches: Lists, events: Events) -> Wants:
    """Wants that searches leave behind: after a share of them, the user still wants some of the candidates.

    They may be ones that were not shown. Better utility makes them likelier; what was bought at once is left out.
    """
    bought = events.take(events.type_n == PURCHASE)
    bought_RC = np.zeros(searches.item_RC.shape, dtype=bool)
    places = searches.item_RC[bought.request_n] == bought.item_n[:, None]
    bought_RC[bought.request_n] |= places
    appeal_RC = np.where(
        rng.random(len(searches.user_R))[:, None] < config.elsewhere_noise,
        0.0,
        config.want_appeal * searches.utility_RC,
    )
    out_RC = bought_RC | (searches.item_RC == ABSENT)
    appeal_RC = np.where(out_RC, -np.inf, appeal_RC + rng.gumbel(size=appeal_RC.shape))
    # The best so many of them, in no order.
    wanted_RW = np.argpartition(-appeal_RC, config.wants - 1, axis=1)[:, : config.wants]
    returns_R = rng.random(len(wanted_RW)) < config.elsewhere
    left_RW = returns_R[:, None] & np.isfinite(np.take_along_axis(appeal_RC, wanted_RW, axis=1))
    request_W, place_W = np.nonzero(left_RW)
    item_W = searches.item_RC[request_W, wanted_RW[request_W, place_W]]
    user_W, time_W = searches.user_R[request_W], searches.time_R[request_W]
    order = np.lexsort((time_W, user_W))
    return Wants(user_W[order], item_W[order], time_W[order])
