"""Graded judgments of pooled items, with annotators who err."""

import numpy as np
import pyarrow as pa

from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.catalogue import Catalogue
from components.marketplace.simulator.queries import TOP_LEVEL, Queries
from components.marketplace.simulator.world import make_ids, stream

ANNOTATORS = 3


def make_judgments(config: MarketplaceConfig, catalogue: Catalogue, queries: Queries) -> pa.Table:
    """The `judgments` table: `config.judgments` items of each query's pool, each graded 0, 1/3, 2/3 or 1.

    Three annotators see the true level; each is one level off with the chance `annotator_noise`. Their median counts.
    Half of the judged items are the pool's most relevant, so that every query has relevant and other items.
    """
    rng = stream(config.seed, catalogue.market, "judgments")
    n_queries, n_pool = queries.pool_QP.shape
    n_judged = min(config.judgments, n_pool)
    best = np.argsort(-(queries.level_QP + rng.random((n_queries, n_pool))), axis=1)
    key = rng.random((n_queries, n_pool))
    np.put_along_axis(key, best[:, : n_judged // 2], -1.0, axis=1)
    judged = np.sort(np.argsort(key, axis=1)[:, :n_judged], axis=1)
    level = np.take_along_axis(queries.level_QP, judged, axis=1).ravel()
    errs = rng.random((ANNOTATORS, len(level))) < config.annotator_noise
    seen = np.clip(level + errs * rng.choice([-1, 1], size=errs.shape), 0, TOP_LEVEL)
    item = np.take_along_axis(queries.pool_QP, judged, axis=1).ravel()
    query = np.repeat(np.arange(n_queries), n_judged)
    items = catalogue.table()
    items_judged = items.take(pa.array(item))
    query_index = pa.array(query)
    return pa.table(
        {
            "query_id": make_ids(f"{catalogue.market}-q", n_queries, 4).take(query_index),
            "market": items_judged["market"],
            "query": pa.array(queries.texts, pa.string()).take(query_index),
            "item_id": items_judged["item_id"],
            "title": items_judged["title"],
            "grade": pa.array(np.round(np.median(seen, axis=0) / TOP_LEVEL, 2), pa.float64()),
            "language": pa.array(queries.languages, pa.string()).take(query_index),
            "category": items_judged["category"],
        }
    )
