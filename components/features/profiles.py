"""Features that do not change with time: hashed ids, an item's price among its peers, stored relevance."""

from datetime import datetime

import ibis
import pyarrow as pa

from components.contracts.engine import Engine
from components.contracts.features import FEATURES
from components.contracts.text import stable_bucket
from components.features.cadence import after_refresh, last_refresh
from components.features.config import FeaturesConfig
from components.features.source import ALWAYS, LogTables

_BUCKETS = {feature.name: feature.buckets for feature in FEATURES}


def bucket_table(engine: Engine, values: ibis.Column, name: str) -> ibis.Table:
    """(value, `name`): the bucket of every distinct non-null value.

    Engines hash differently, so distinct ids are hashed here, as serving does, and joined.
    """
    distinct = values.as_table().distinct().to_pyarrow()[0].drop_null()
    codes = stable_bucket(distinct.to_pylist(), _BUCKETS[name])
    return engine.load(name, pa.table({"value": distinct.cast(pa.string()), name: pa.array(codes, pa.int64())}))


def user_profile(source: LogTables, config: FeaturesConfig) -> ibis.Table:
    """The bucket of every user that the log has seen do something, and when first, from the next run on."""
    acts = ibis.union(source.requests.select("user_id", "timestamp"), source.events.select("user_id", "timestamp"))
    seen = acts.group_by("user_id").aggregate(first=acts.timestamp.min())
    buckets = bucket_table(source.engine, source.users.user_id, "user_bucket")
    hashed = seen.inner_join(buckets, seen.user_id == buckets["value"])
    return hashed.select(
        "user_id",
        "user_bucket",
        user_seen_at=hashed["first"].epoch_seconds().cast("int64"),
        event_timestamp=after_refresh(hashed["first"], config),
    )


def item_profile(source: LogTables, config: FeaturesConfig, as_of: datetime) -> ibis.Table:
    """Buckets, category, brand and price features of every item, from the run after it was first a candidate on.

    A missing or blank brand is bucket 0. price_log is ln(1 + price) in the market's currency; price_in_category is the
    mid-rank percentile of the price among items of the same market and category: 0.5 for an item alone or where all
    prices are equal (our choice). Prices hold as the catalogue has them: a log tells no earlier ones. An item that no
    request has had is known since the last run before `as_of`.
    """
    items = source.items.mutate(brand=source.items.brand.strip().nullif(""))
    for column, name in (("item_id", "item_bucket"), ("category", "category_bucket"), ("brand", "brand_bucket")):
        buckets = bucket_table(source.engine, items[column], name)
        items = items.left_join(buckets, items[column] == buckets["value"]).drop("value")
    below = ibis.percent_rank().over(ibis.window(group_by=["market", "category"], order_by=items.price.asc()))
    above = ibis.percent_rank().over(ibis.window(group_by=["market", "category"], order_by=items.price.desc()))
    items = items.mutate(price_in_category=((below + 1 - above) / 2).cast("float32"))
    requested = source.candidates.inner_join(source.requests.select("request_id", "timestamp"), "request_id")
    acts = ibis.union(requested.select("item_id", "timestamp"), source.events.select("item_id", "timestamp"))
    seen = acts.group_by("item_id").aggregate(first=acts.timestamp.min())
    known = items.left_join(seen, "item_id")
    return known.select(
        "item_id",
        "item_bucket",
        "category_bucket",
        "category",
        "price_in_category",
        brand_bucket=known.brand_bucket.coalesce(0),
        brand=known.brand.coalesce(""),
        price_log=(known.price + 1).ln().cast("float32"),
        item_seen_at=known["first"].epoch_seconds().cast("int64").coalesce(0),
        event_timestamp=after_refresh(known["first"], config).coalesce(ibis.literal(last_refresh(as_of, config))),
    )


def relevance(source: LogTables) -> ibis.Table:
    """Stored relevance of (query_key, item_id): a function of texts, so it holds at any time."""
    scores = source.scores
    return scores.select(
        "item_id",
        "relevance",
        query_key=scores.market.concat(":", scores["query"]),
        event_timestamp=ibis.literal(ALWAYS),
    )
