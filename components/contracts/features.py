"""The ranker's features: what Feast stores, what a model version reads, and how rows become tensors.

One list serves the feature tables, the Feast definitions, training, export and the online path, so that offline and
online vectors cannot differ in order, type or filling. Depends on numpy alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np

Group = Literal["user", "item", "query", "sequence", "domain"]
Kind = Literal["numeric", "categorical", "sequence"]

VERSION = "v1"
FEATURE_SERVICE = f"search_ranker_{VERSION}"
SEQUENCE_LENGTH = 20

USER_BUCKETS = 20_000
ITEM_BUCKETS = 20_000
CATEGORY_BUCKETS = 1_000
BRAND_BUCKETS = 5_000
QUERY_BUCKETS = 10_000


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        name: its column, everywhere.
        view: the Feast view that stores it, or "request" where the caller states it.
        group: the HHSFT token group it belongs to.
        kind: numeric (float32, NaN if absent), categorical (int64, 0 if absent) or sequence (newest first, int64).
        buckets: number of categorical codes, 0 included.
    """

    name: str
    view: str
    group: Group
    kind: Kind
    buckets: int = 0


# Join keys of each view. `query_key` is contracts.text.query_key.
VIEWS: dict[str, tuple[str, ...]] = {
    "user_profile": ("user_id",),
    "user_stats": ("user_id",),
    "user_sequences": ("user_id",),
    "item_profile": ("item_id",),
    "item_stats": ("item_id",),
    "query_stats": ("query_key",),
    "relevance": ("query_key", "item_id"),
}
# Views whose keys all belong to the request; the others describe a candidate item.
REQUEST_KEYS = frozenset({"user_id", "query_key"})
REQUEST_VIEWS: tuple[str, ...] = tuple(view for view, keys in VIEWS.items() if REQUEST_KEYS.issuperset(keys))
CANDIDATE_VIEWS: tuple[str, ...] = tuple(view for view in VIEWS if view not in REQUEST_VIEWS)

FEATURES: tuple[Feature, ...] = (
    Feature("user_bucket", "user_profile", "user", "categorical", USER_BUCKETS),
    Feature("user_searches_7d", "user_stats", "user", "numeric"),
    Feature("user_clicks_7d", "user_stats", "user", "numeric"),
    Feature("user_carts_7d", "user_stats", "user", "numeric"),
    Feature("user_purchases_28d", "user_stats", "user", "numeric"),
    Feature("item_bucket", "item_profile", "item", "categorical", ITEM_BUCKETS),
    Feature("category_bucket", "item_profile", "item", "categorical", CATEGORY_BUCKETS),
    Feature("brand_bucket", "item_profile", "item", "categorical", BRAND_BUCKETS),
    Feature("price_log", "item_profile", "item", "numeric"),
    Feature("price_in_category", "item_profile", "item", "numeric"),
    Feature("item_exposures_7d", "item_stats", "item", "numeric"),
    Feature("item_clicks_7d", "item_stats", "item", "numeric"),
    Feature("item_carts_7d", "item_stats", "item", "numeric"),
    Feature("item_purchases_28d", "item_stats", "item", "numeric"),
    Feature("item_ctr_28d", "item_stats", "item", "numeric"),
    Feature("query_bucket", "query_stats", "query", "categorical", QUERY_BUCKETS),
    Feature("query_searches_7d", "query_stats", "query", "numeric"),
    Feature("query_ctr_28d", "query_stats", "query", "numeric"),
    Feature("relevance", "relevance", "query", "numeric"),
    Feature("clicked_items", "user_sequences", "sequence", "sequence", ITEM_BUCKETS),
    Feature("clicked_categories", "user_sequences", "sequence", "sequence", CATEGORY_BUCKETS),
    Feature("purchased_items", "user_sequences", "sequence", "sequence", ITEM_BUCKETS),
    Feature("purchased_categories", "user_sequences", "sequence", "sequence", CATEGORY_BUCKETS),
    Feature("market_code", "request", "domain", "categorical", 64),
    Feature("domain_code", "request", "domain", "categorical", 8),
)
NUMERIC: tuple[Feature, ...] = tuple(f for f in FEATURES if f.kind == "numeric")
CATEGORICAL: tuple[Feature, ...] = tuple(f for f in FEATURES if f.kind == "categorical")
SEQUENCES: tuple[Feature, ...] = tuple(f for f in FEATURES if f.kind == "sequence")
RELEVANCE_COLUMN: int = [f.name for f in NUMERIC].index("relevance")


def stored_features(view: str | None = None) -> tuple[Feature, ...]:
    """The features that Feast stores, of one view or of all."""
    return tuple(f for f in FEATURES if f.view != "request" and view in (None, f.view))


def feature_schema() -> str:
    """Names what a ranker of this code reads: a short digest of every feature's name, place, kind and codes, in order.

    A release is served by the code whose schema it was built with: by another, vectors would be other ones.
    """
    listed = json.dumps([VERSION, SEQUENCE_LENGTH, VIEWS, [astuple(feature) for feature in FEATURES]])
    return f"{FEATURE_SERVICE}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class FeatureTensors:
    """Model inputs of n rows.

    Attributes:
        numeric: float32 (n, len(NUMERIC)), raw values, NaN where absent; the model standardises.
        categorical: int64 (n, len(CATEGORICAL)), 0 where absent.
        sequences: int64 (n, len(SEQUENCES), SEQUENCE_LENGTH), newest first, 0-padded on the right.
    """

    numeric: np.ndarray
    categorical: np.ndarray
    sequences: np.ndarray


def assemble(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> FeatureTensors:
    """Tensors from feature columns of equal length n (a column may hold None or NaN where a row is unknown).

    Raises:
        KeyError: a feature's column is missing.
    """
    numeric = np.stack([np.asarray(columns[f.name], dtype=np.float32) for f in NUMERIC], axis=1)
    categorical = np.stack([_codes(columns[f.name]) for f in CATEGORICAL], axis=1)
    sequences = np.stack([_pad(columns[f.name]) for f in SEQUENCES], axis=1)
    return FeatureTensors(numeric, categorical, sequences)


def _codes(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    floats = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(floats), 0, floats).astype(np.int64)


def _pad(lists: Sequence[Any] | np.ndarray) -> np.ndarray:
    """(n, SEQUENCE_LENGTH) from n lists, arrays, None or NaN; a matrix is taken as padded already."""
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
