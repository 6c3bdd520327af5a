"""Recommendation and shop requests, and returns without any request.

Shapes: R requests, C candidates, U users, I items, P periods, S sellers, W wants.
"""

from dataclasses import dataclass

import numpy as np

from components.contracts.markets import DOMAIN_CODES
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.behaviour import (
    CLICK,
    NO_REQUEST,
    Events,
    Lists,
    follow_clicks,
    rank_lists,
)
from components.marketplace.simulator.catalogue import Catalogue
from components.marketplace.simulator.search import Wants
from components.marketplace.simulator.timeline import DAY, HOUR, Timeline
from components.marketplace.simulator.users import Users
from components.marketplace.simulator.world import ABSENT, cumulative, draw_rows, weights

REC, SHOP = DOMAIN_CODES["rec"], DOMAIN_CODES["shop"]


def make_recommendations(
    rng: np.random.Generator,
    config: MarketplaceConfig,
    timeline: Timeline,
    catalogue: Catalogue,
    users: Users,
    searches: Lists,
    wants: Wants,
) -> Lists:
    """Recommendation requests: candidates drawn by the policy, and one or two items that the user wanted recently."""
    visits = _visits(rng, config, config.rec_requests, timeline, users, searches)
    # More draws than candidates: repeats fall away.
    draws = min(2 * config.candidates, config.items)
    uniform_RC = rng.random((len(visits.user_R), draws))
    item_RC = np.zeros((len(visits.user_R), draws), dtype=np.int64)
    for period, popularity_I in enumerate(catalogue.popularity_PI):
        now = visits.period_R == period
        affinity_UI = users.browse_affinity_PUI[period]
        drawn_by = (1 - config.policy_utility) * popularity_I + config.policy_utility * affinity_UI
        user_RC = np.broadcast_to(visits.user_R[now][:, None], (int(now.sum()), draws))
        item_RC[now] = draw_rows(cumulative(weights(drawn_by)), user_RC, uniform_RC[now])
    item_RC = catalogue.listed(item_RC, timeline.share(visits.time_R))
    latest = [_wanted(rng, config, wants, visits, back, config.rec_want) for back in range(1, config.rec_wants + 1)]
    wanted_RW = np.stack(latest, axis=1)
    item_RC = _distinct(np.concatenate([wanted_RW, item_RC], axis=1), config.candidates)
    return _lists(rng, config, catalogue, users, visits, np.zeros_like(visits.user_R), item_RC, wanted_RW)


def make_shop_visits(
    rng: np.random.Generator,
    config: MarketplaceConfig,
    timeline: Timeline,
    catalogue: Catalogue,
    users: Users,
    searches: Lists,
    wants: Wants,
) -> Lists:
    """Shop requests: the items of one seller, as many as fit; often the seller of an item that the user wants."""
    visits = _visits(rng, config, config.shop_requests, timeline, users, searches)
    wanted_R = _wanted(rng, config, wants, visits, 1, config.shop_want)
    members_SI = _members(catalogue.seller_I)
    n_sellers = len(members_SI)
    share_SI = (catalogue.seller_I == np.arange(n_sellers)[:, None]).astype(np.float32)
    share_SI /= share_SI.sum(axis=1, keepdims=True)
    liking_US = users.browse_affinity_PUI[0] @ share_SI.T
    seller_R = draw_rows(
        cumulative(weights(config.shop_taste * liking_US)), visits.user_R, rng.random(len(visits.user_R))
    )
    seller_R = np.where(wanted_R == ABSENT, seller_R, catalogue.seller_I[wanted_R])
    shelf_RI = rng.permuted(members_SI[seller_R], axis=1)
    shelf_RI = catalogue.listed(shelf_RI, timeline.share(visits.time_R))
    item_RC = _distinct(np.concatenate([wanted_R[:, None], shelf_RI], axis=1), config.candidates)
    return _lists(rng, config, catalogue, users, visits, seller_R, item_RC, wanted_R[:, None])


def return_directly(rng: np.random.Generator, config: MarketplaceConfig, wants: Wants) -> tuple[Events, Wants]:
    """Events without a request for a share of the wants, and the wants that are left."""
    direct = rng.random(len(wants.user_W)) < config.direct
    user, item = wants.user_W[direct], wants.item_W[direct]
    n = len(user)
    soon = rng.random(n) < 1 - config.direct_late
    wait = np.where(soon, rng.exponential(config.direct_hours, size=n), rng.uniform(24.0, 60.0, size=n)) * HOUR
    clicks = Events(
        user,
        item,
        np.where(rng.random(n) < config.direct_rec, REC, SHOP),
        np.full(n, NO_REQUEST),
        np.full(n, CLICK),
        wants.time_W[direct] + wait.astype(np.int64),
    )
    left = Wants(wants.user_W[~direct], wants.item_W[~direct], wants.time_W[~direct])
    return follow_clicks(rng, config, clicks, np.full(n, config.direct_purchase)), left


@dataclass(frozen=True)
class _Visits:
    """Who opened R browsing requests, when, and in which period that is."""

    user_R: np.ndarray
    time_R: np.ndarray
    period_R: np.ndarray


def _visits(
    rng: np.random.Generator, config: MarketplaceConfig, n: int, timeline: Timeline, users: Users, searches: Lists
) -> _Visits:
    """Browsing requests in order of time; many follow a search of the same user within hours."""
    time_R = timeline.draw(rng, n)
    user_R = users.draw(rng, timeline.share(time_R))
    after = rng.integers(len(searches.user_R), size=n)
    later = searches.time_R[after] + (rng.exponential(config.follow_up_hours, size=n) * HOUR).astype(np.int64)
    follows = (rng.random(n) < config.follow_up) & (later < timeline.end)
    user_R = np.where(follows, searches.user_R[after], user_R)
    time_R = np.where(follows, later, time_R)
    order = np.argsort(time_R, kind="stable")
    return _Visits(user_R[order], time_R[order], timeline.period(time_R[order]))


def _wanted(
    rng: np.random.Generator, config: MarketplaceConfig, wants: Wants, visits: _Visits, back: int, chance: float
) -> np.ndarray:
    """The item wanted `back` searches ago, with the given chance that the list has it; else ABSENT."""
    place_R = wants.latest(visits.user_R, visits.time_R, back, int(config.want_days * DAY))
    there = (place_R >= 0) & (rng.random(len(visits.user_R)) < chance)
    return np.where(there, wants.item_W[place_R] if len(wants.item_W) else ABSENT, ABSENT)


def _distinct(item_RC: np.ndarray, width: int) -> np.ndarray:
    """Each row's distinct items in order of first appearance, ABSENT after them, cut to `width` columns."""
    order = np.argsort(item_RC, axis=1, kind="stable")
    ordered = np.take_along_axis(item_RC, order, axis=1)
    repeated = np.zeros(item_RC.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    gone = repeated | (item_RC == ABSENT)
    left_first = np.argsort(gone, axis=1, kind="stable")[:, :width]
    return np.take_along_axis(np.where(gone, ABSENT, item_RC), left_first, axis=1)


def _members(seller_I: np.ndarray) -> np.ndarray:
    """Items of each seller (S, most items a seller has), padded with ABSENT."""
    sizes = np.bincount(seller_I)
    members = np.full((len(sizes), sizes.max()), ABSENT)
    order = np.argsort(seller_I, kind="stable")
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    members[seller_I[order], place] = order
    return members


def _lists(
    rng: np.random.Generator,
    config: MarketplaceConfig,
    catalogue: Catalogue,
    users: Users,
    visits: _Visits,
    subject_R: np.ndarray,
    item_RC: np.ndarray,
    wanted_RW: np.ndarray,
) -> Lists:
    """Rank what was gathered, as the logging policy does."""
    affinity_RC = users.browse_affinity_PUI[visits.period_R[:, None], visits.user_R[:, None], item_RC]
    wanted_RC = (item_RC[:, :, None] == wanted_RW[:, None, :]).any(axis=2) & (item_RC != ABSENT)
    utility_RC = config.browse_bias + affinity_RC + config.want_utility * wanted_RC
    score_RC = (1 - config.policy_utility) * catalogue.popularity_PI[visits.period_R[:, None], item_RC]
    score_RC += config.policy_utility * affinity_RC + config.want_score * wanted_RC
    score_RC += config.policy_noise * rng.gumbel(size=item_RC.shape)
    order_RC, depth_R = rank_lists(rng, item_RC, score_RC, config.page_size)
    return Lists(
        visits.user_R,
        subject_R,
        visits.time_R,
        np.take_along_axis(item_RC, order_RC, axis=1),
        depth_R,
        np.take_along_axis(utility_RC, order_RC, axis=1),
    )
