"""A market's users: latent tastes, and how much each would like each item.

Shapes: U users, I items, T product types, B brands, D latent style dimensions, P periods.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.catalogue import NONE, STYLE_DIMS, Catalogue
from components.marketplace.simulator.world import BRAND_NAMES, arrivals, draw_present, make_ids, stream, weights

AGE_BANDS = ("18-24", "25-34", "35-44", "45+")
DEVICES = ("android", "ios", "web")


@dataclass(frozen=True)
class Users:
    """Users of one market. Affinities are in units of the click logit, about standard normal over items.

    Attributes:
        activity_U: share of the market's requests that are each user's, once they have come.
        arrival_U: share of the log after which each comes; 0: there from the start.
        type_taste_UT: liking of product types.
        search_affinity_PUI, browse_affinity_PUI: liking of each item while searching, and elsewhere.
    """

    market: str
    activity_U: np.ndarray
    arrival_U: np.ndarray
    type_taste_UT: np.ndarray
    search_affinity_PUI: np.ndarray
    browse_affinity_PUI: np.ndarray
    age_U: np.ndarray
    device_U: np.ndarray

    def table(self) -> pa.Table:
        """The `users` table, with two attributes that say nothing of taste."""
        n = len(self.activity_U)
        return pa.table(
            {
                "user_id": make_ids(f"{self.market}-u", n, 6),
                "market": pa.repeat(self.market, n),
                "age_band": pa.array(AGE_BANDS).take(pa.array(self.age_U)),
                "device": pa.array(DEVICES).take(pa.array(self.device_U)),
            }
        )

    def draw(self, rng: np.random.Generator, share_R: np.ndarray) -> np.ndarray:
        """Who is active at R moments, each the share of the log that has passed."""
        n = len(self.activity_U)
        return draw_present(lambda rows: rng.choice(n, size=len(rows), p=self.activity_U), self.arrival_U, share_R)


def make_users(config: MarketplaceConfig, catalogue: Catalogue) -> Users:
    """Draw a market's users and their affinities to its items."""
    rng = stream(config.seed, catalogue.market, "users")
    n = config.users
    type_taste_UT = _type_taste(rng, catalogue, n)
    search = _affinity(rng, config, catalogue, type_taste_UT)
    browse = search
    if config.domain_shift > 0:
        other = _affinity(rng, config, catalogue, _type_taste(rng, catalogue, n))
        angle = config.domain_shift * np.pi / 2
        browse = (np.cos(angle) * search + np.sin(angle) * other).astype(np.float32)
    activity = weights(config.user_spread * rng.normal(size=n))
    return Users(
        catalogue.market,
        activity / activity.sum(),
        arrivals(stream(config.seed, catalogue.market, "new users"), n, config.new_users),
        type_taste_UT,
        search,
        browse,
        rng.choice(len(AGE_BANDS), size=n, p=(0.25, 0.4, 0.2, 0.15)),
        rng.choice(len(DEVICES), size=n, p=(0.7, 0.2, 0.1)),
    )


def _type_taste(rng: np.random.Generator, catalogue: Catalogue, n: int) -> np.ndarray:
    """Standard normal liking of types (U, T), four fifths of its variance the category's."""
    categories = list(dict.fromkeys(t.category for t in catalogue.types))
    category_T = np.array([categories.index(t.category) for t in catalogue.types])
    shared = rng.normal(size=(n, len(categories)))[:, category_T]
    own = rng.normal(size=(n, len(catalogue.types)))
    return np.asarray(np.sqrt(0.8) * shared + np.sqrt(0.2) * own, dtype=np.float32)


def _affinity(
    rng: np.random.Generator, config: MarketplaceConfig, catalogue: Catalogue, type_taste_UT: np.ndarray
) -> np.ndarray:
    """(P, U, I) float32: type, brand, price and style as each user sees them, and quality as all do."""
    n = len(type_taste_UT)
    brand_taste_UB = rng.normal(size=(n, len(BRAND_NAMES) + 1)).astype(np.float32)
    brand_taste_UB[:, NONE] = 0.0
    thrift_U = rng.normal(loc=0.6, scale=0.8, size=n).astype(np.float32)
    style_UD = (rng.normal(size=(n, STYLE_DIMS)) / np.sqrt(STYLE_DIMS)).astype(np.float32)
    lasting_UI = config.type_weight * type_taste_UT[:, catalogue.type_I]
    lasting_UI += config.brand_weight * brand_taste_UB[:, catalogue.brand_I]
    lasting_UI += config.style_weight * style_UD @ catalogue.style_ID.T
    periods = []
    for price_z_I, popularity_I in zip(catalogue.price_z_PI, catalogue.popularity_PI, strict=True):
        affinity_UI = lasting_UI + config.quality_weight * popularity_I
        affinity_UI -= config.price_weight * thrift_U[:, None] * price_z_I
        periods.append(affinity_UI)
    return np.stack(periods).astype(np.float32)
