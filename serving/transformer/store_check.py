"""Whether an online store can be trusted: what it must hold, and what it means when it cannot be read."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from redis.exceptions import RedisError

from components.contracts.errors import ArchipelagoError
from components.contracts.features import VIEWS
from serving.transformer.errors import Unavailable

# Of these views one row each must be there.
_WATCHED = ("user_profile", "item_profile", "query_stats")
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_WAIT_S = 1.0


class StoreUnavailable(Unavailable, ArchipelagoError):
    """The online store is locked, damaged, full or cannot be reached."""


@contextmanager
def store_errors() -> Iterator[None]:
    """Name what a store's engine raises for what it is: the store is not available."""
    try:
        yield
    except (sqlite3.Error, RedisError, DecodeError, OSError) as error:
        raise StoreUnavailable(f"online store: {type(error).__name__}: {error}") from error


def row_counts(database: Path) -> dict[str, int]:
    """Rows of each table of an SQLite file, which SQLite itself has checked.

    Raises:
        StoreUnavailable: it is locked.
        sqlite3.DatabaseError: it is absent or damaged.
    """
    try:
        address = f"{database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as connection:
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            counts = [connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables]  # noqa: S608
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in _LOCKED:
            raise StoreUnavailable(f"online store {database}: {error}") from error
        raise
    return dict(zip(tables, counts, strict=True))


def loss(database: Path, rows: Mapping[str, int]) -> str | None:
    """What an SQLite file has lost of the rows that it was built with, None for nothing; pushes may have added some.

    Raises:
        StoreUnavailable: it is locked.
    """
    try:
        found = row_counts(database)
    except sqlite3.DatabaseError as error:
        return str(error)
    short = [table for table, count in rows.items() if found.get(table, 0) < count]
    return f"rows are missing in {', '.join(short)}" if short else None


def known_keys(features: Path) -> dict[str, str]:
    """A key of each watched view that the feature tables hold, by view."""
    keys: dict[str, str] = {}
    for view in _WATCHED:
        (name,) = VIEWS[view]
        first = pq.read_table(features / f"{view}.parquet", columns=[name]).slice(0, 1)
        keys.update((view, key) for key in first.column(name).to_pylist())
    return keys
