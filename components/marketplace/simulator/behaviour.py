"""How users meet result lists: examination by position, clicks, carts and purchases.

Shapes: R requests, C candidates, n events. Times are int64 microseconds since 1970, UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.timeline import DAY, HOUR, SECOND, Timeline
from components.marketplace.simulator.world import ABSENT

CLICK, CART, PURCHASE = 0, 1, 2
NO_REQUEST = -1


@dataclass(frozen=True)
class Lists:
    """Ranked result lists of one domain.

    Attributes:
        user_R: whose request.
        subject_R: what it is about: the query of a search, the seller of a shop; 0 in rec.
        time_R: when.
        item_RC: candidates best first; ABSENT fills lists that are shorter.
        depth_R: how many of them are exposed, from the top.
        utility_RC: the user's ground-truth utility, the logit of a click once examined.
    """

    user_R: np.ndarray
    subject_R: np.ndarray
    time_R: np.ndarray
    item_RC: np.ndarray
    depth_R: np.ndarray
    utility_RC: np.ndarray

    def click_chance(self, config: MarketplaceConfig) -> np.ndarray:
        """Chance (R, C) that the user clicks each candidate if the page reaches down to its place in the list."""
        place_C = np.arange(1, self.item_RC.shape[1] + 1)
        return np.asarray(place_C**-config.position_decay * sigmoid(self.utility_RC))


@dataclass(frozen=True)
class Events:
    """Events of one market: arrays of equal length; `request_n` counts within the domain, NO_REQUEST if none."""

    user_n: np.ndarray
    item_n: np.ndarray
    domain_n: np.ndarray
    request_n: np.ndarray
    type_n: np.ndarray
    time_n: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["Events"]) -> "Events":
        """All events of the parts."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def take(self, chosen: np.ndarray) -> Self:
        """The chosen events, by mask or by index."""
        return type(self)(*(getattr(self, f.name)[chosen] for f in fields(self)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function; below -80 it is as good as 0, and its exponential no float32."""
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum(-x, 80.0))))


def rank_lists(
    rng: np.random.Generator, item_RC: np.ndarray, score_RC: np.ndarray, page_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Order of each list by descending score, absent items last (R, C), and how many a user is shown (R,)."""
    order_RC = np.argsort(np.where(item_RC == ABSENT, np.inf, -score_RC), axis=1)
    shown_R = page_size - rng.integers(3, size=len(item_RC))
    return order_RC, np.minimum(shown_R, (item_RC != ABSENT).sum(axis=1))


def react(rng: np.random.Generator, config: MarketplaceConfig, timeline: Timeline, lists: Lists, domain: int) -> Events:
    """Events on what users are shown: at most one click per exposed item, then perhaps a cart and a purchase."""
    page = int(lists.depth_R.max())
    chance = lists.click_chance(config)[:, :page]
    exposed = np.arange(page) < lists.depth_R[:, None]
    clicked = exposed & (rng.random(chance.shape) < chance)
    request, place = np.nonzero(clicked)
    think = (2.0 + 4.0 * place + rng.exponential(8.0, size=len(place))) * SECOND
    logit = config.purchase_bias + config.purchase_slope * lists.utility_RC[request, place]
    logit[timeline.on_sale(lists.time_R[request])] += config.sale_purchase
    return follow_clicks(
        rng,
        config,
        Events(
            lists.user_R[request],
            lists.item_RC[request, place],
            np.full(len(request), domain),
            request,
            np.full(len(request), CLICK),
            lists.time_R[request] + think.astype(np.int64),
        ),
        sigmoid(logit),
    )


def follow_clicks(
    rng: np.random.Generator, config: MarketplaceConfig, clicks: Events, purchase_chance_n: np.ndarray
) -> Events:
    """The clicks with the carts and purchases that come of them; a purchase may take up to three days."""
    n = len(clicks.time_n)
    bought = rng.random(n) < purchase_chance_n
    carted = rng.random(n) < np.where(bought, config.cart_before_purchase, config.cart)
    cart_wait = (rng.exponential(90.0, size=n) * SECOND).astype(np.int64)
    slow = rng.random(n) < config.slow_purchase
    slow_hours = rng.exponential(config.slow_purchase_hours, size=n)
    wait = np.where(slow, slow_hours, rng.exponential(config.quick_purchase_hours, size=n)) * HOUR
    purchase_wait = cart_wait + np.minimum(wait, 2.9 * DAY).astype(np.int64)
    return Events.join(
        [
            clicks,
            _later(clicks, carted, CART, cart_wait),
            _later(clicks, bought, PURCHASE, purchase_wait),
        ]
    )


def _later(clicks: Events, chosen: np.ndarray, type_: int, wait_n: np.ndarray) -> Events:
    some = clicks.take(chosen)
    return Events(
        some.user_n,
        some.item_n,
        some.domain_n,
        some.request_n,
        np.full(len(some.time_n), type_),
        some.time_n + wait_n[chosen],
    )
