"""How users meet result lists: examination by position, clicks, carts and purchases.

Shapes: R requests, C candidates, n events. Times are int64 microseconds since 1970, UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

CLICK, CART, PURCHASE = 0, 1, 2
NO_REQUEST = -1
ABSENT = -1
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
# Click chance = POSITION ** -EXAMINATION_DECAY * sigmoid(utility); purchase chance after a click
# = sigmoid(PURCHASE_BIAS + PURCHASE_SLOPE * utility) (our choice).
EXAMINATION_DECAY = 0.5
PURCHASE_BIAS, PURCHASE_SLOPE = -1.6, 0.5
CART_CHANCE, CART_BEFORE_PURCHASE = 0.2, 0.8


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
    """Logistic function."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def rank_lists(
    rng: np.random.Generator, item_RC: np.ndarray, score_RC: np.ndarray, page_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Order of each list by descending score, absent items last (R, C), and how many a user is shown (R,)."""
    order_RC = np.argsort(np.where(item_RC == ABSENT, np.inf, -score_RC), axis=1)
    shown_R = page_size - rng.integers(3, size=len(item_RC))
    return order_RC, np.minimum(shown_R, (item_RC != ABSENT).sum(axis=1))


def react(rng: np.random.Generator, lists: Lists, domain: int) -> Events:
    """Events on what users are shown: at most one click per exposed item, then perhaps a cart and a purchase."""
    page = int(lists.depth_R.max())
    utility = lists.utility_RC[:, :page]
    examination_C = np.arange(1, page + 1) ** -EXAMINATION_DECAY
    exposed = np.arange(page) < lists.depth_R[:, None]
    clicked = exposed & (rng.random(utility.shape) < examination_C * sigmoid(utility))
    request, place = np.nonzero(clicked)
    think = (2.0 + 4.0 * place + rng.exponential(8.0, size=len(place))) * SECOND
    return follow_clicks(
        rng,
        Events(
            lists.user_R[request],
            lists.item_RC[request, place],
            np.full(len(request), domain),
            request,
            np.full(len(request), CLICK),
            lists.time_R[request] + think.astype(np.int64),
        ),
        sigmoid(PURCHASE_BIAS + PURCHASE_SLOPE * utility[request, place]),
    )


def follow_clicks(rng: np.random.Generator, clicks: Events, purchase_chance_n: np.ndarray) -> Events:
    """The clicks with the carts and purchases that come of them; a purchase may take up to three days."""
    n = len(clicks.time_n)
    bought = rng.random(n) < purchase_chance_n
    carted = rng.random(n) < np.where(bought, CART_BEFORE_PURCHASE, CART_CHANCE)
    cart_wait = (rng.exponential(90.0, size=n) * SECOND).astype(np.int64)
    slow = rng.random(n) < 0.25
    wait = np.where(slow, rng.exponential(20.0, size=n), rng.exponential(0.3, size=n)) * HOUR
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
