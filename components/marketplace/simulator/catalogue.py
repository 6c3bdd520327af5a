"""A market's items: product types, attributes, brands, sellers, prices, popularity, titles.

Shapes: I items, D latent style dimensions, P periods (before and after drift; one if there is none).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.lexicon.attributes import BRANDS
from components.marketplace.simulator.lexicon.products import PRODUCT_TYPES, ProductType
from components.marketplace.simulator.titles import Facts, write_title
from components.marketplace.simulator.world import (
    ABSENT,
    BRAND_NAMES,
    COLOUR_KEYS,
    FEATURE_KEYS,
    WAYS,
    Ways,
    arrivals,
    make_ids,
    stream,
)

STYLE_DIMS = 8
SELLER_ITEMS = 16
ITEMS_A_TYPE = 6
NONE = -1


@dataclass(frozen=True)
class Catalogue:
    """Items of one market; attributes are indices into the lexicon, NONE (-1) where an item has none.

    `arrival_I` is the share of the log after which each is listed; 0: there from the start.
    """

    market: str
    types: tuple[ProductType, ...]
    type_I: np.ndarray
    brand_I: np.ndarray
    feature_I: np.ndarray
    colour_I: np.ndarray
    spec_I: np.ndarray
    seller_I: np.ndarray
    style_ID: np.ndarray
    price_PI: np.ndarray
    price_z_PI: np.ndarray
    popularity_PI: np.ndarray
    arrival_I: np.ndarray
    titles: tuple[str, ...]

    @property
    def n_items(self) -> int:
        """How many items the market has."""
        return len(self.type_I)

    def listed(self, item_RC: np.ndarray, share_R: np.ndarray) -> np.ndarray:
        """The items (R, C), ABSENT where one is not listed yet once that share of the log has passed."""
        return np.where(self.arrival_I[item_RC] <= share_R[:, None], item_RC, ABSENT)

    def facts(self, item: int) -> Facts:
        """What can be said about an item."""
        product = self.types[self.type_I[item]]
        return Facts(
            product,
            BRAND_NAMES[self.brand_I[item]] if self.brand_I[item] != NONE else None,
            FEATURE_KEYS[self.feature_I[item]],
            COLOUR_KEYS[self.colour_I[item]] if self.colour_I[item] != NONE else None,
            product.specs[self.spec_I[item]],
        )

    def table(self) -> pa.Table:
        """The `items` table; prices are those at the end of the log."""
        brands = [None if brand == NONE else BRAND_NAMES[brand] for brand in self.brand_I]
        return pa.table(
            {
                "item_id": make_ids(f"{self.market}-i", self.n_items, 5),
                "market": pa.repeat(self.market, self.n_items),
                "title": pa.array(self.titles, pa.string()),
                "category": pa.array([self.types[i].category for i in self.type_I], pa.string()),
                "price": pa.array(self.price_PI[-1], pa.float64()),
                "brand": pa.array(brands, pa.string()),
                "seller_id": make_ids(f"{self.market}-s", int(self.seller_I.max()) + 1, 4).take(
                    pa.array(self.seller_I)
                ),
            }
        )


def make_catalogue(config: MarketplaceConfig, market: str) -> Catalogue:
    """Draw a market's items."""
    rng = stream(config.seed, market, "catalogue")
    ways = WAYS[market]
    n = config.items
    # Every type that is there has several items, so that a query has more than one right answer.
    types = PRODUCT_TYPES[: max(3, min(len(PRODUCT_TYPES), n // ITEMS_A_TYPE))]
    type_I = _types(rng, n, len(types))
    brands = [[BRAND_NAMES.index(name) for name in BRANDS[t.category]] for t in types]
    features = [[FEATURE_KEYS.index(key) for key in t.features] for t in types]
    branded = rng.random(n) < 0.6
    brand_I = np.where(branded, _one_of(rng, brands, type_I), NONE)
    coloured = np.array([t.coloured for t in types])[type_I]
    colour_I = np.where(coloured, rng.integers(len(COLOUR_KEYS), size=n), NONE)
    feature_I = _one_of(rng, features, type_I)
    spec_I = _one_of(rng, [range(len(t.specs)) for t in types], type_I)
    price_PI, price_z_PI = _prices(rng, config, types, type_I, brand_I, ways)
    popularity_PI = _popularity(rng, config, n)
    style_ID = rng.normal(size=(n, STYLE_DIMS)).astype(np.float32)
    seller_I = _sellers(rng, types, type_I)
    untitled = Catalogue(
        market, types, type_I, brand_I, feature_I, colour_I, spec_I, seller_I, style_ID, price_PI, price_z_PI,
        popularity_PI, arrivals(stream(config.seed, market, "new items"), n, config.new_items), (),
    )  # fmt: skip
    return Catalogue(**{**vars(untitled), "titles": _titles(config, untitled, ways)})


def _types(rng: np.random.Generator, n: int, n_types: int) -> np.ndarray:
    """Type of each item: four (or as many as there is room for) of every type, the rest unevenly spread."""
    least = min(4, n // n_types)
    spread = rng.dirichlet(np.full(n_types, 3.0))
    rest = rng.choice(n_types, size=n - least * n_types, p=spread)
    return rng.permutation(np.concatenate([np.repeat(np.arange(n_types), least), rest]))


def _one_of(rng: np.random.Generator, choices: list[list[int]] | list[range], type_I: np.ndarray) -> np.ndarray:
    """One of its type's choices for each item, earlier ones likelier."""
    sizes = np.array([len(c) for c in choices])
    padded = np.zeros((len(choices), sizes.max()), dtype=np.int64)
    for row, values in enumerate(choices):
        padded[row, : len(values)] = values
    picked = (rng.random(len(type_I)) ** 1.3 * sizes[type_I]).astype(np.int64)
    return np.asarray(padded[type_I, picked])


def _prices(
    rng: np.random.Generator,
    config: MarketplaceConfig,
    types: tuple[ProductType, ...],
    type_I: np.ndarray,
    brand_I: np.ndarray,
    ways: Ways,
) -> tuple[np.ndarray, np.ndarray]:
    """Local prices (P, I) and how each stands among its type's, in standard deviations (P, I)."""
    spread = 1.1
    deviation = rng.normal(size=len(type_I)) * spread + np.where(brand_I == NONE, -0.15, 0.1)
    deviations = [deviation]
    if config.drift > 0:
        # A sale here, a rise there: half of the types move one way, half the other.
        moves = rng.choice([-1.0, 1.0], size=len(types))[type_I] + 0.5 * rng.normal(size=len(type_I))
        deviations.append(deviation + config.drift * moves)
    median = np.array([t.price for t in types])[type_I] * ways.dollar
    deviation_PI = np.stack(deviations)
    # Most prices are round, some end in odd hundreds.
    step_I = ways.step * np.where(rng.random(len(type_I)) < 0.6, 10.0, 1.0)
    price_PI = np.maximum(np.round(median * np.exp(deviation_PI) / step_I), 1) * step_I
    return np.round(price_PI, 2), (deviation_PI / spread).astype(np.float32)


def _popularity(rng: np.random.Generator, config: MarketplaceConfig, n: int) -> np.ndarray:
    """Normal log-popularity (P, I); drift trades the old ranking for a new one."""
    popularity = config.popularity_spread * rng.normal(size=n)
    periods = [popularity]
    if config.drift > 0:
        angle = config.drift * np.pi / 2
        periods.append(np.cos(angle) * popularity + np.sin(angle) * config.popularity_spread * rng.normal(size=n))
    return np.stack(periods).astype(np.float32)


def _sellers(rng: np.random.Generator, types: tuple[ProductType, ...], type_I: np.ndarray) -> np.ndarray:
    """Shops of up to SELLER_ITEMS items that mostly keep to a category."""
    categories = {c: i for i, c in enumerate(dict.fromkeys(t.category for t in types))}
    category_I = np.array([categories[t.category] for t in types])[type_I]
    rank = np.argsort(np.argsort(category_I + rng.normal(scale=0.6, size=len(type_I)), kind="stable"), kind="stable")
    return rank // SELLER_ITEMS


def _titles(config: MarketplaceConfig, catalogue: Catalogue, ways: Ways) -> tuple[str, ...]:
    rng = stream(config.seed, catalogue.market, "titles")
    titles = []
    for item in range(catalogue.n_items):
        facts = catalogue.facts(item)
        # Sellers leave things out: what a title does not say, a query can only guess.
        stated = Facts(
            facts.product,
            facts.brand,
            facts.feature if rng.random() < 0.93 else None,
            facts.colour if rng.random() < 0.9 else None,
            facts.spec if rng.random() < 0.75 else None,
        )
        code = ""
        if rng.random() < 0.25:
            letters = "".join(chr(65 + c) for c in rng.integers(26, size=2))
            code = f"{letters}{rng.integers(10, 9999)}"
        titles.append(write_title(rng, stated, ways, code))
    return tuple(titles)
