"""Declared schemas of every dataset that crosses a boundary between stages, and of the log contract users bring.

A `TableSchema` states the columns a table must have (extra ones are kept) and what their values must satisfy.
`components.contracts.tables` reads files against them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from components.contracts.markets import DOMAINS
from components.contracts.text import MAX_QUERY_CHARS, MAX_TITLE_CHARS, normalise_query, normalise_title

TIMESTAMP = pa.timestamp("us", tz="UTC")
EVENT_TYPES = ("click", "cart", "purchase")
SPLITS = ("train", "valid", "test")
LABEL_SOURCES = ("native", "unexposed", "attributed", "searchified", "searchified_negative")
QUERY_SOURCES = ("native", "own", "cooccurrence", "nearest")


@dataclass(frozen=True)
class Column:
    """One required column.

    Attributes:
        type: Arrow type that values are cast to; a value that cannot be cast is an error.
        nullable: whether nulls (and NaN, in float columns) are allowed.
        minimum, maximum: inclusive bounds of numbers.
        values: the allowed values.
        max_chars: longest allowed string, in normal form where one is named.
        normalise: makes a string's normal form.
        blank: whether a string may show nothing: be empty, or white space and characters that nobody sees.
        is_market: values must be among the profile's markets.
        is_past: timestamps must not lie after `as_of`.
        is_id: text that may have been a whole number once, and a float in between.
    """

    type: pa.DataType
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] | None = None
    max_chars: int | None = None
    normalise: Callable[[str], str] | None = None
    blank: bool = False
    is_market: bool = False
    is_past: bool = False
    is_id: bool = False


@dataclass(frozen=True)
class TableSchema:
    """A table's required columns, its key (unique together), and references into other tables (column -> table)."""

    name: str
    columns: dict[str, Column]
    key: tuple[str, ...] = ()
    references: tuple[tuple[str, str], ...] = ()


_ID = Column(pa.string(), max_chars=256, is_id=True)
_MARKET = Column(pa.string(), is_market=True)
QUERY = Column(pa.string(), max_chars=MAX_QUERY_CHARS, normalise=normalise_query)
TITLE = Column(pa.string(), max_chars=MAX_TITLE_CHARS, normalise=normalise_title)
_TIME = Column(TIMESTAMP, is_past=True)
_DOMAIN = Column(pa.string(), values=DOMAINS)
_FLAG = Column(pa.int8(), minimum=0, maximum=1)

ITEMS = TableSchema(
    "items",
    {
        "item_id": _ID,
        "market": _MARKET,
        "title": TITLE,
        "category": Column(pa.string()),
        "price": Column(pa.float64(), minimum=0),
        "brand": Column(pa.string(), nullable=True, blank=True),
    },
    key=("item_id",),
)
USERS = TableSchema("users", {"user_id": _ID, "market": _MARKET}, key=("user_id",))
REQUESTS = TableSchema(
    "requests",
    {
        "request_id": _ID,
        "user_id": _ID,
        "market": _MARKET,
        "domain": _DOMAIN,
        "query": replace(QUERY, nullable=True),
        "timestamp": _TIME,
    },
    key=("request_id",),
    references=(("user_id", "users"),),
)
CANDIDATES = TableSchema(
    "candidates",
    {"request_id": _ID, "item_id": _ID, "position": Column(pa.int32(), nullable=True, minimum=1)},
    key=("request_id", "item_id"),
    references=(("request_id", "requests"), ("item_id", "items")),
)
EVENTS = TableSchema(
    "events",
    {
        "event_id": _ID,
        "user_id": _ID,
        "item_id": _ID,
        "domain": _DOMAIN,
        "request_id": Column(pa.string(), nullable=True, is_id=True),
        "type": Column(pa.string(), values=EVENT_TYPES),
        "timestamp": _TIME,
    },
    key=("event_id",),
    references=(("user_id", "users"), ("item_id", "items"), ("request_id", "requests")),
)
JUDGMENTS = TableSchema(
    "judgments",
    {
        "query_id": _ID,
        "market": _MARKET,
        "query": QUERY,
        "item_id": _ID,
        "title": TITLE,
        "grade": Column(pa.float64(), minimum=0, maximum=1),
    },
    key=("query_id", "item_id"),
)
LOG_TABLES: tuple[TableSchema, ...] = (ITEMS, USERS, REQUESTS, CANDIDATES, EVENTS, JUDGMENTS)

# What a served log holds besides requests, candidates and events: which answered items a user saw, and at which place.
IMPRESSIONS = TableSchema(
    "impressions",
    {
        "request_id": _ID,
        "user_id": _ID,
        "item_id": _ID,
        "position": Column(pa.int32(), nullable=True, minimum=1),
        "timestamp": _TIME,
    },
    references=(("request_id", "requests"), ("item_id", "items")),
)

# What stages exchange. `query` is always the normalised text here.
ORACLE = TableSchema(
    "oracle",
    {
        "request_id": _ID,
        "item_id": _ID,
        "utility": Column(pa.float32()),
        "click_chance": Column(pa.float32(), minimum=0, maximum=1),
    },
    key=("request_id", "item_id"),
)
RELEVANCE_SCORES = TableSchema(
    "relevance_scores",
    {
        "market": _MARKET,
        "query": QUERY,
        "item_id": _ID,
        "relevance": Column(pa.float32(), minimum=0, maximum=1),
        "experts": Column(pa.list_(pa.int64())),
    },
    key=("market", "query", "item_id"),
)
TITLE_VECTORS = TableSchema(
    "title_vectors",
    {"item_id": _ID, "vector": Column(pa.list_(pa.float32()))},
    key=("item_id",),
)
QUERY_VECTORS = TableSchema(
    "query_vectors",
    {"market": _MARKET, "query": QUERY, "vector": Column(pa.list_(pa.float32()))},
    key=("market", "query"),
)
SAMPLES = TableSchema(
    "samples",
    {
        "sample_id": _ID,
        "request_id": _ID,
        "user_id": _ID,
        "item_id": _ID,
        "market": _MARKET,
        "domain": _DOMAIN,
        "query": QUERY,
        "timestamp": _TIME,
        "exposed": _FLAG,
        # Where search showed it: for training alone, as no request can state it before it is ranked.
        "position": Column(pa.int32(), nullable=True, minimum=1),
        "native_click": _FLAG,
        "native_purchase": _FLAG,
        "click": _FLAG,
        "purchase": _FLAG,
        "label_source": Column(pa.string(), values=LABEL_SOURCES),
        "query_source": Column(pa.string(), values=QUERY_SOURCES),
        "split": Column(pa.string(), values=SPLITS),
    },
    key=("sample_id",),
)
