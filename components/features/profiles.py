"""Features that do not change with time: hashed ids, an item's price among its peers, stored relevance."""

import ibis
import pyarrow as pa

from components.contracts.engine import Engine
from components.contracts.features import FEATURES
from components.contracts.text import stable_bucket
from components.features.source import ALWAYS, LogTables

_BUCKETS = {feature.name: feature.buckets for feature in FEATURES}


def bucket_table(engine: Engine, values: ibis.Column, name: str) -> ibis.Table:
    """(value, `name`): the bucket of every distinct non-null value.

    Engines hash differently, so distinct ids are hashed here, as serving does, and joined.
    """
    distinct = values.as_table().distinct().to_pyarrow()[0].drop_null()
    codes = stable_bucket(distinct.to_pylist(), _BUCKETS[name])
    return engine.load(name, pa.table({"value": distinct.cast(pa.string()), name: pa.array(codes, pa.int64())}))


def user_profile(source: LogTables) -> ibis.Table:
    """The bucket of every user of the log."""
    users = source.users.select("user_id")
    buckets = bucket_table(source.engine, users.user_id, "user_bucket")
    hashed = users.inner_join(buckets, users.user_id == buckets["value"])
    return hashed.select("user_id", "user_bucket", event_timestamp=ibis.literal(ALWAYS))


def item_profile(source: LogTables) -> ibis.Table:
    """Buckets and price features of every item; a missing or blank brand is bucket 0.

    price_log is ln(1 + price) in the market's currency; price_in_category is the mid-rank percentile of the price among
    items of the same market and category: 0.5 for an item alone or where all prices are equal (our choice).
    """
    items = source.items.mutate(brand=source.items.brand.strip().nullif(""))
    for column, name in (("item_id", "item_bucket"), ("category", "category_bucket"), ("brand", "brand_bucket")):
        buckets = bucket_table(source.engine, items[column], name)
        items = items.left_join(buckets, items[column] == buckets["value"]).drop("value")
    below = ibis.percent_rank().over(ibis.window(group_by=["market", "category"], order_by=items.price.asc()))
    above = ibis.percent_rank().over(ibis.window(group_by=["market", "category"], order_by=items.price.desc()))
    return items.select(
        "item_id",
        "item_bucket",
        "category_bucket",
        brand_bucket=items.brand_bucket.coalesce(0),
        price_log=(items.price + 1).ln().cast("float32"),
        price_in_category=((below + 1 - above) / 2).cast("float32"),
        event_timestamp=ibis.literal(ALWAYS),
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
