"""A market's search queries: what people want, the many ways they type it, and each query's retrieval pool.

Shapes: Q queries, P places of a pool (P periods in a frequency), I items, T product types.
"""

from dataclasses import dataclass

import numpy as np

from components.contracts.errors import BadInput
from components.contracts.text import normalise_query
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.catalogue import NONE, Catalogue
from components.marketplace.simulator.lexicon.attributes import COLOURS, FEATURES
from components.marketplace.simulator.titles import ADJECTIVE_FIRST, Facts, pick
from components.marketplace.simulator.typos import mistype
from components.marketplace.simulator.world import WAYS, arrivals, stream

TOP_LEVEL = 3
_INTENT_FORMS = 3
_TRIES = 50


@dataclass(frozen=True)
class Queries:
    """Queries of one market.

    Attributes:
        texts: raw text of each query, distinct after normalisation.
        languages: the language each is typed in.
        type_Q: product type wanted.
        frequency_PQ: share of searches in each period (before and after drift), once a query is asked at all.
        arrival_Q: share of the log after which each is first asked; 0: from the start.
        pool_QP: the items that retrieval may return for each query.
        level_QP: true relevance level 0..3 of each pooled item.
    """

    texts: tuple[str, ...]
    languages: tuple[str, ...]
    type_Q: np.ndarray
    frequency_PQ: np.ndarray
    arrival_Q: np.ndarray
    pool_QP: np.ndarray
    level_QP: np.ndarray


@dataclass(frozen=True)
class _Intent:
    """What a query asks for: a product type, and the values (NONE: any) an item should have."""

    type: int
    brand: int
    feature: int
    colour: int
    spec: int


def make_queries(config: MarketplaceConfig, catalogue: Catalogue) -> Queries:
    """Draw a market's queries and their pools."""
    rng = stream(config.seed, catalogue.market, "queries")
    languages = WAYS[catalogue.market].query_languages
    texts: dict[str, tuple[str, str, _Intent]] = {}
    type_order: list[int] = []
    tries = 0
    while len(texts) < config.queries:
        tries += 1
        if tries > _TRIES * config.queries:
            raise BadInput(f"{catalogue.market}: {config.items} items suggest no {config.queries} distinct queries")
        if not type_order:
            type_order = list(rng.permutation(len(catalogue.types)))
        intent, facts = _draw_intent(rng, catalogue, int(type_order.pop()))
        # One want is typed in several ways: in each language, with other words, with slips of the finger.
        for _ in range(1 + int(rng.integers(_INTENT_FORMS))):
            language = str(rng.choice(list(languages), p=list(languages.values())))
            text = _write_query(rng, facts, language, config.typos)
            if len(texts) < config.queries:
                texts.setdefault(normalise_query(text), (text, language, intent))
    entries = list(texts.values())
    intents = [intent for _, _, intent in entries]
    level_QI = np.stack([_levels(catalogue, intent) for intent in intents])
    pool_QP = np.stack(
        [_pool(rng, config, catalogue, level_I, i) for level_I, i in zip(level_QI, intents, strict=True)]
    )
    return Queries(
        tuple(text for text, _, _ in entries),
        tuple(language for _, language, _ in entries),
        np.array([intent.type for intent in intents]),
        _frequency(rng, config, [language for _, language, _ in entries], WAYS[catalogue.market].language),
        arrivals(stream(config.seed, catalogue.market, "new queries"), len(entries), config.new_queries),
        pool_QP,
        np.take_along_axis(level_QI, pool_QP, axis=1),
    )


def _draw_intent(rng: np.random.Generator, catalogue: Catalogue, type_: int) -> tuple[_Intent, Facts]:
    """A want that at least one item meets: some of the attributes of an item of the type."""
    anchor = int(rng.choice(np.flatnonzero(catalogue.type_I == type_)))
    facts = catalogue.facts(anchor)
    with_brand, with_feature, with_colour, with_spec = rng.random(4) < (0.3, 0.5, 0.25, 0.2)
    intent = _Intent(
        type_,
        int(catalogue.brand_I[anchor]) if with_brand else NONE,
        int(catalogue.feature_I[anchor]) if with_feature else NONE,
        int(catalogue.colour_I[anchor]) if with_colour else NONE,
        int(catalogue.spec_I[anchor]) if with_spec else NONE,
    )
    return intent, Facts(
        facts.product,
        facts.brand if with_brand else None,
        facts.feature if with_feature else None,
        facts.colour if with_colour else None,
        facts.spec if with_spec else None,
    )


def _write_query(rng: np.random.Generator, facts: Facts, language: str, typos: float) -> str:
    noun = pick(rng, facts.product.names[language], 0.4)
    feature = pick(rng, FEATURES[facts.feature][language], 0.5) if facts.feature else ""
    words = [feature, noun] if language in ADJECTIVE_FIRST else [noun, feature]
    if facts.brand:
        words.insert(0 if rng.random() < 0.5 else len(words), facts.brand.lower())
    if facts.colour:
        colour = pick(rng, COLOURS[facts.colour][language], 0.5)
        words.insert(0 if language in ADJECTIVE_FIRST else len(words), colour)
    words.append((facts.spec or "").lower())
    # Thai and Chinese searchers seldom type spaces.
    joint = "" if language in ("th", "zh") and rng.random() < 0.6 else " "
    text = joint.join(word for word in words if word)
    return mistype(rng, text, language) if rng.random() < typos else text


def _levels(catalogue: Catalogue, intent: _Intent) -> np.ndarray:
    """Relevance level 0..3 of every item (I,): 3 meets the whole want, 2 has another colour, 1 lacks more or is the
    next best kind of thing, 0 is something else.
    """
    misses = np.zeros(catalogue.n_items, dtype=np.int64)
    for wanted, has_I, cost in (
        (intent.brand, catalogue.brand_I, 2),
        (intent.feature, catalogue.feature_I, 2),
        (intent.spec, catalogue.spec_I, 2),
        (intent.colour, catalogue.colour_I, 1),
    ):
        if wanted != NONE:
            misses += np.where(has_I == wanted, 0, cost)
    same_type = catalogue.type_I == intent.type
    level_I = np.where(same_type, np.clip(TOP_LEVEL - misses, 1, TOP_LEVEL), 0)
    # A shopper may take a sibling of the same category that has the wanted colour or brand.
    categories = np.array([t.category for t in catalogue.types])
    sibling = ~same_type & (categories[catalogue.type_I] == categories[intent.type])
    shares = (catalogue.brand_I == intent.brand) & (intent.brand != NONE)
    return np.where(sibling & shares, 1, level_I)


def _pool(
    rng: np.random.Generator, config: MarketplaceConfig, catalogue: Catalogue, level_I: np.ndarray, intent: _Intent
) -> np.ndarray:
    """P items that retrieval may return for a query: mostly its type (best first), some siblings, some that share a
    brand or colour or nothing at all.
    """
    categories = np.array([t.category for t in catalogue.types])
    same_type = catalogue.type_I == intent.type
    sibling = ~same_type & (categories[catalogue.type_I] == categories[intent.type])
    confounder = ~same_type & ~sibling & ((catalogue.brand_I == intent.brand) | (catalogue.colour_I == intent.colour))
    key_I = rng.random(catalogue.n_items)
    n = config.pool_size
    chosen: list[int] = []
    for members, room in ((same_type, n // 2), (sibling, n // 4), (confounder, n // 8)):
        ranked = np.flatnonzero(members)[np.argsort(-(level_I + key_I)[members], kind="stable")]
        chosen += ranked[:room].tolist()
    rest = np.setdiff1d(np.flatnonzero(level_I == 0), chosen)
    rest = rest[np.argsort(key_I[rest], kind="stable")][: n - len(chosen)]
    pool = np.concatenate([np.array(chosen, dtype=np.int64), rest])
    if len(pool) < n:
        left = np.setdiff1d(np.arange(catalogue.n_items), pool)
        pool = np.concatenate([pool, left[np.argsort(key_I[left], kind="stable")][: n - len(pool)]])
    return rng.permutation(pool)


def _frequency(rng: np.random.Generator, config: MarketplaceConfig, languages: list[str], usual: str) -> np.ndarray:
    """Power-law shares (P, Q); drift favours other queries, and those not in the market's usual language."""
    ranks = rng.permutation(len(languages)) + 1.0
    logits = [-config.query_exponent * np.log(ranks)]
    if config.drift > 0:
        foreign = np.array([language != usual for language in languages])
        moved = -config.query_exponent * np.log(rng.permutation(len(languages)) + 1.0) + 1.5 * foreign
        logits.append((1 - config.drift) * logits[0] + config.drift * moved)
    weights = np.exp(np.stack(logits))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
