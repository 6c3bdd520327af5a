"""The ranker's features: what Feast stores, what a model version reads, and how rows become tensors.

One list serves the feature tables, the Feast definitions, training, export and the online path, so that offline and
online vectors cannot differ in order, type or filling. Depends on numpy alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

Group = Literal["user", "item", "query", "sequence", "domain"]
Kind = Literal["numeric", "categorical", "sequence"]

VERSION = "v2"
FEATURE_SERVICE = f"search_ranker_{VERSION}"
SEQUENCE_LENGTH = 50
NAN = float("nan")

USER_BUCKETS = 20_000
ITEM_BUCKETS = 20_000
CATEGORY_BUCKETS = 1_000
BRAND_BUCKETS = 5_000
QUERY_BUCKETS = 10_000
DOMAIN_BUCKETS = 8
# Upper edges, in seconds, of the codes of a time gap; code 0 says that there is no such event.
GAP_EDGES_S: tuple[int, ...] = tuple(60 * m for m in (1, 10, 60, 360, 1_440, 2_880, 4_320, 10_080, 20_160, 43_200))
GAP_BUCKETS = len(GAP_EDGES_S) + 2


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        name: its column, everywhere.
        view: the Feast view that stores it, or "request" where it is stated by the caller or follows from stored values
            and the request's own time (`contracts.request_time`).
        group: the HHSFT token group it belongs to.
        kind: numeric (float32), categorical (int64, 0 if absent) or sequence (newest first, int64, 0-padded).
        buckets: number of categorical codes, 0 included.
        table: features of one table have the same codes, and share an embedding.
        unit: what a value counts or measures.
        window: days that are counted, up to the last midnight; 0 where none are.
        unknown: a numeric's value where nothing is stored.
    """

    name: str
    view: str
    group: Group
    kind: Kind
    buckets: int = 0
    table: str = ""
    unit: str = "code"
    window: int = 0
    unknown: float = NAN


@dataclass(frozen=True)
class Fact:
    """What a view stores that no model reads: features follow from it.

    Attributes:
        name: its column.
        view: the Feast view that stores it.
        kind: time (int64, seconds since 1970 UTC, 0 for never), sequence (of such times) or text.
    """

    name: str
    view: str
    kind: Literal["time", "sequence", "text"]


# Join keys of each view. `query_key` is contracts.text.query_key; `category` and `brand` are what `item_profile` has of
# the item at that time.
VIEWS: dict[str, tuple[str, ...]] = {
    "user_profile": ("user_id",),
    "user_stats": ("user_id",),
    "user_sequences": ("user_id",),
    "user_searches": ("user_id",),
    "user_queries": ("user_id", "query_key"),
    "query_stats": ("query_key",),
    "item_profile": ("item_id",),
    "item_stats": ("item_id",),
    "category_stats": ("category",),
    "user_categories": ("user_id", "category"),
    "user_brands": ("user_id", "brand"),
    "query_categories": ("query_key", "category"),
    "query_items": ("query_key", "item_id"),
    "relevance": ("query_key", "item_id"),
}
# Views whose keys all belong to the request; the others describe a candidate item.
REQUEST_KEYS = frozenset({"user_id", "query_key"})
REQUEST_VIEWS: tuple[str, ...] = tuple(view for view, keys in VIEWS.items() if REQUEST_KEYS.issuperset(keys))
CANDIDATE_VIEWS: tuple[str, ...] = tuple(view for view in VIEWS if view not in REQUEST_VIEWS)
ITEM_VIEWS: tuple[str, ...] = tuple(view for view, keys in VIEWS.items() if keys == ("item_id",))

FACTS: tuple[Fact, ...] = (
    Fact("user_seen_at", "user_profile", "time"),
    Fact("clicked_at", "user_sequences", "sequence"),
    Fact("purchased_at", "user_sequences", "sequence"),
    Fact("searched_at", "user_searches", "sequence"),
    Fact("user_query_at", "user_queries", "time"),
    Fact("item_seen_at", "item_profile", "time"),
    Fact("category", "item_profile", "text"),
    Fact("brand", "item_profile", "text"),
    Fact("item_clicked_at", "item_stats", "time"),
)


def _counts(
    view: str, group: Group, prefix: str, windows: Mapping[str, tuple[int, ...]], unknown: float = NAN
) -> tuple[Feature, ...]:
    """`prefix`_`what`_`days`d for each thing that is counted and each of its windows."""
    return tuple(
        Feature(f"{prefix}_{what}_{days}d", view, group, "numeric", unit="count", window=days, unknown=unknown)
        for what, lengths in windows.items()
        for days in lengths
    )


def _number(name: str, view: str, group: Group, unit: str, window: int = 0) -> Feature:
    return Feature(name, view, group, "numeric", unit=unit, window=window)


def _code(name: str, view: str, group: Group, buckets: int, table: str) -> Feature:
    return Feature(name, view, group, "categorical", buckets, table)


def _sequence(name: str, view: str, buckets: int, table: str) -> Feature:
    return Feature(name, view, "sequence", "sequence", buckets, table)


_ALL = (1, 7, 30)
_USER_COUNTS = {
    "searches": _ALL,
    "search_clicks": _ALL,
    "rec_clicks": _ALL,
    "shop_clicks": _ALL,
    "carts": (7, 30),
    "purchases": (7, 30),
    "search_purchases": (30,),
    "rec_purchases": (30,),
    "shop_purchases": (30,),
}
_ITEM_COUNTS = {
    "exposures": _ALL,
    "search_clicks": _ALL,
    "rec_clicks": (7, 30),
    "shop_clicks": (7, 30),
    "carts": (7, 30),
    "purchases": _ALL,
}

FEATURES: tuple[Feature, ...] = (
    _code("user_bucket", "user_profile", "user", USER_BUCKETS, "user"),
    *_counts("user_stats", "user", "user", _USER_COUNTS),
    _number("user_ctr_30d", "user_stats", "user", "clicks per exposure, smoothed", 30),
    _number("user_price_log_30d", "user_stats", "user", "mean ln(1 + price) of clicked items", 30),
    _number("user_age", "request", "user", "days since the user was first seen"),
    _number("user_since_click", "request", "user", "hours"),
    _number("user_since_purchase", "request", "user", "hours"),
    _number("user_since_search", "request", "user", "hours"),
    *_counts("user_queries", "user", "user_query", {"searches": (30,), "clicks": (30,)}, 0),
    _number("user_since_query", "request", "user", "hours since the user's last search of this query"),
    *_counts("user_categories", "user", "user_category", {"clicks": (7, 30), "purchases": (30,)}, 0),
    *_counts("user_brands", "user", "user_brand", {"clicks": (30,), "purchases": (30,)}, 0),
    _number("price_gap", "request", "user", "price_log - user_price_log_30d"),
    _code("item_bucket", "item_profile", "item", ITEM_BUCKETS, "item"),
    _code("category_bucket", "item_profile", "item", CATEGORY_BUCKETS, "category"),
    _code("brand_bucket", "item_profile", "item", BRAND_BUCKETS, "brand"),
    _number("price_log", "item_profile", "item", "ln(1 + price)"),
    _number("price_in_category", "item_profile", "item", "percentile within market and category"),
    *_counts("item_stats", "item", "item", _ITEM_COUNTS),
    _number("item_ctr_7d", "item_stats", "item", "clicks per exposure, smoothed", 7),
    _number("item_ctr_30d", "item_stats", "item", "clicks per exposure, smoothed", 30),
    _number("item_cvr_30d", "item_stats", "item", "purchases per click, smoothed", 30),
    _number("item_coec_30d", "item_stats", "item", "clicks per click expected by position, smoothed", 30),
    _number("item_age", "request", "item", "days since the item was first seen"),
    _number("item_since_click", "request", "item", "hours"),
    *_counts("category_stats", "item", "category", {"clicks": _ALL, "purchases": (30,)}),
    _number("category_ctr_30d", "category_stats", "item", "clicks per exposure, smoothed", 30),
    _number("category_cvr_30d", "category_stats", "item", "purchases per click, smoothed", 30),
    _code("query_bucket", "query_stats", "query", QUERY_BUCKETS, "query"),
    *_counts("query_stats", "query", "query", {"searches": _ALL, "clicks": (30,)}),
    _number("query_ctr_30d", "query_stats", "query", "clicks per exposure, smoothed", 30),
    _number("query_cvr_30d", "query_stats", "query", "purchases per click, smoothed", 30),
    _number("query_coec_30d", "query_stats", "query", "clicks per click expected by position, smoothed", 30),
    _code("query_top_category", "query_stats", "query", CATEGORY_BUCKETS, "category"),
    _number("query_top_category_share_30d", "query_stats", "query", "share of the query's clicks", 30),
    *_counts("query_items", "query", "query_item", {"exposures": (30,), "clicks": (30,), "purchases": (30,)}, 0),
    _number("query_item_ctr_30d", "request", "query", "clicks per exposure, smoothed to the query's", 30),
    *_counts("query_categories", "query", "query_category", {"clicks": (30,)}, 0),
    _number("query_category_share_30d", "request", "query", "share of the query's clicks", 30),
    _number("relevance", "relevance", "query", "relevance, 0 to 1"),
    _sequence("clicked_items", "user_sequences", ITEM_BUCKETS, "item"),
    _sequence("clicked_categories", "user_sequences", CATEGORY_BUCKETS, "category"),
    _sequence("clicked_domains", "user_sequences", DOMAIN_BUCKETS, "domain"),
    _sequence("clicked_gaps", "request", GAP_BUCKETS, "gap"),
    _sequence("purchased_items", "user_sequences", ITEM_BUCKETS, "item"),
    _sequence("purchased_categories", "user_sequences", CATEGORY_BUCKETS, "category"),
    _sequence("purchased_domains", "user_sequences", DOMAIN_BUCKETS, "domain"),
    _sequence("purchased_gaps", "request", GAP_BUCKETS, "gap"),
    _sequence("searched_queries", "user_searches", QUERY_BUCKETS, "query"),
    _sequence("searched_gaps", "request", GAP_BUCKETS, "gap"),
    _code("market_code", "request", "domain", 64, "market"),
    _code("domain_code", "request", "domain", DOMAIN_BUCKETS, "domain_code"),
    _code("hour", "request", "domain", 25, "hour"),
    _code("weekday", "request", "domain", 8, "weekday"),
)
NUMERIC: tuple[Feature, ...] = tuple(f for f in FEATURES if f.kind == "numeric")
CATEGORICAL: tuple[Feature, ...] = tuple(f for f in FEATURES if f.kind == "categorical")
SEQUENCES: tuple[Feature, ...] = tuple(f for f in FEATURES if f.kind == "sequence")
RELEVANCE_COLUMN: int = [f.name for f in NUMERIC].index("relevance")


@cache
def stored_features(view: str | None = None) -> tuple[Feature | Fact, ...]:
    """What Feast stores of one view or of all: features, and facts that others follow from."""
    stored: tuple[Feature | Fact, ...] = (*(f for f in FEATURES if f.view != "request"), *FACTS)
    return tuple(f for f in stored if view in (None, f.view))


def feature_schema() -> str:
    """Names what a ranker of this code reads: a short digest of every feature's name, place, kind and codes, in order.

    A release is served by the code whose schema it was built with: by another, vectors would be other ones.
    """
    described = [[str(value) for value in astuple(each)] for each in FEATURES]
    described += [list(astuple(each)) for each in FACTS]
    listed = json.dumps([VERSION, SEQUENCE_LENGTH, VIEWS, GAP_EDGES_S, described])
    return f"{FEATURE_SERVICE}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class FeatureTensors:
    """Model inputs of n rows.

    Attributes:
        numeric: float32 (n, len(NUMERIC)), raw values, NaN where absent; the model standardises.
        categorical: int64 (n, len(CATEGORICAL)), 0 where absent.
        sequences: int64 (n, len(SEQUENCES), SEQUENCE_LENGTH), newest first, 0-padded on the right; (1, ...) where all
            rows share them, as those of one request do.
    """

    numeric: np.ndarray
    categorical: np.ndarray
    sequences: np.ndarray


def assemble(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> FeatureTensors:
    """Tensors of n rows from feature columns (a column may hold None or NaN where a row is unknown).

    A column has n rows, or one that all n share; sequences stay one row where all columns of them are.

    Raises:
        KeyError: a feature's column is missing.
    """
    n = max(len(columns[f.name]) for f in FEATURES if f.kind != "sequence")
    numeric = np.empty((n, len(NUMERIC)), dtype=np.float32)
    for place, feature in enumerate(NUMERIC):
        numeric[:, place] = np.asarray(columns[feature.name], dtype=np.float32)
    categorical = np.empty((n, len(CATEGORICAL)), dtype=np.int64)
    for place, feature in enumerate(CATEGORICAL):
        categorical[:, place] = _codes(columns[feature.name])
    sequences = np.stack([padded(columns[f.name]) for f in SEQUENCES], axis=1)
    return FeatureTensors(numeric, categorical, sequences)


def _codes(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    floats = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(floats), 0, floats).astype(np.int64)


def padded(lists: Sequence[Any] | np.ndarray) -> np.ndarray:
    """int64 (n, SEQUENCE_LENGTH) from n lists, arrays, None or NaN; a matrix is taken as padded already."""
    if isinstance(lists, np.ndarray) and lists.ndim == 2:
        return lists.astype(np.int64)
    arrays = [np.asarray(x) if isinstance(x, list | tuple | np.ndarray) else np.empty(0) for x in lists]
    lengths = np.array([len(x) for x in arrays], dtype=np.int64)
    return pad_sequences(np.concatenate([np.empty(0), *arrays]), np.cumsum(lengths) - lengths, lengths)


def pad_sequences(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64 (n, SEQUENCE_LENGTH) of n lists that lie in `values`, cut to that length, 0-padded on the right."""
    column = np.arange(SEQUENCE_LENGTH)
    filled = column < lengths[:, None]
    padded = np.zeros(filled.shape, dtype=np.int64)
    padded[filled] = values[(starts[:, None] + column)[filled]]
    return padded
