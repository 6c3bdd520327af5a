"""Opening a Feast store from addresses: everything a store is follows from them and the definitions.

Offline reads run on DuckDB. The online store is an SQLite file or Redis, the registry a file or an SQL database: the
address says which. Steps and servers use files; no command passes another address yet.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import ibis

from components.contracts.errors import BadInput
from components.contracts.tools.log import get_logger
from feature_repo.definitions import feature_objects
from feature_repo.feast_api import FeatureStore, RepoConfig

# Online stores that releases share are namespaced: keys of two projects never meet.
PROJECT = "archipelago"
_logger = get_logger(__name__)


def connect(registry: str | Path, online: str | Path, project: str = PROJECT) -> FeatureStore:
    """The store at these addresses, as its registry has it.

    Args:
        registry: a file's path, or an SQLAlchemy URL such as ``postgresql+psycopg://user:password@host/feast``.
        online: an SQLite file's path, or ``redis[s]://[[user]:password@]host:port[/db]``.
        project: namespace of all keys.

    Raises:
        BadInput: a URL of another kind.
    """
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=_registry(str(registry)),
            online_store=_online(str(online)),
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
            # One row per key reaches the online store, the newest, whatever the tables hold.
            materialization={"pull_latest_features": True},
        )
    )


def open_store(tables: Path, registry: str | Path, online: str | Path) -> FeatureStore:
    """The store at these addresses with the current definitions applied, over the feature tables of folder `tables`."""
    store = connect(registry, online)
    store.apply(feature_objects(tables))
    return store


@contextmanager
def offline_session() -> Iterator[None]:
    """A DuckDB connection of its own, in UTC, for offline reads within: joins and materialisation.

    Feast runs them on Ibis's process-wide connection, where memory stays held, a time zone of the machine's shifts
    naive times, and DuckDB complains when the interpreter exits. Its notices go to the log's debug level.
    """
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")
    previous = ibis.options.default_backend
    ibis.set_backend(connection)
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("ignore", DeprecationWarning)  # between Ibis and DuckDB, nothing to do here
            yield
    finally:
        ibis.options.default_backend = previous
        connection.disconnect()
        _logger.debug("%s", printed.getvalue().strip())


def _registry(address: str) -> dict[str, Any]:
    # A cache that never expires: definitions change by `apply` in this process, or with a new release.
    if "://" in address:
        return {"registry_type": "sql", "path": address, "cache_ttl_seconds": 0}
    return {"registry_type": "file", "path": address, "cache_ttl_seconds": 0}


def _online(address: str) -> dict[str, Any]:
    if "://" not in address:
        return {"type": "sqlite", "path": address}
    url = urlsplit(address)
    if url.scheme not in ("redis", "rediss") or not url.hostname:
        raise BadInput(f"online store {url.scheme}://{url.hostname or ''}: expected a file or redis://host:port[/db]")
    parts = [f"{url.hostname}:{url.port or 6379}", f"db={url.path.strip('/') or 0}"]
    if url.scheme == "rediss":
        parts.append("ssl=true")
    parts += [f"{name}={unquote(value)}" for name, value in _credentials(url.username, url.password)]
    return {"type": "redis", "connection_string": ",".join(parts)}


def _credentials(user: str | None, password: str | None) -> list[tuple[str, str]]:
    return [(name, value) for name, value in (("username", user), ("password", password)) if value]
