"""Fresh features for a release that is being served: what has changed since its store was last filled.

The store itself says how fresh it is, and says so anew when all else has been written: a run that was cut off is made
good by the next one, and so are rows that a store has lost.

Choices (ours):

- Rows with a time are written where they are newer than the store: counts that changed at a midnight, sequences.
- Prices and stored relevance may differ from those of a month ago, though no row of theirs is newer: they are written
  whole, as of now.
- Pairs are packed by user and by query, hence whole, too; a store takes the rows that are newer than its own.
- Only stores that servers share are refreshed. A file is one server's own.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.features import VIEWS
from components.contracts.locations import local_copy
from components.contracts.releases import NAME_DIGITS, ONLINE_STORE, SEARCH_RELEASE, check_versions, read_release
from components.contracts.schemas import TIMESTAMP
from components.contracts.tables import write_table
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import MANIFEST, read_manifest
from components.features.latest import latest_rows
from feature_repo.definitions import online_objects
from feature_repo.online import fill, fresh_as_of, project_of
from feature_repo.packed import PACKED
from feature_repo.store import connect, offline_session

# Views whose rows hold at any time, and whose values may differ from those of the last refresh.
_TIMELESS = ("item_profile", "relevance")
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        release: name of the release whose store it was.
        since: the instant as of which the store's features held before; None where it held none.
        as_of: the same, after.
        rows: rows that were new or may have changed, by view.
    """

    release: str
    since: datetime | None
    as_of: datetime
    rows: Mapping[str, int]

    def age_hours(self, now: datetime | None = None) -> float:
        """Hours from `as_of` to now."""
        return ((now or datetime.now(UTC)) - self.as_of).total_seconds() / 3600

    def text(self) -> str:
        """The same in Markdown."""
        before = f"{self.since:%Y-%m-%d %H:%M}" if self.since else "nothing"
        if not self.rows:
            return f"Features of release {self.release} were as of {before} UTC already.\n"
        head = f"Features of release {self.release} are as of {self.as_of:%Y-%m-%d %H:%M} UTC; before: {before}.\n\n"
        lines = [f"| {view} | {rows:,} |" for view, rows in self.rows.items()]
        return head + "| view | rows written |\n| --- | ---: |\n" + "\n".join(lines) + "\n"


def refresh(features: Path, release: str, online: str | None, registry: str | None = None) -> Refreshed:
    """Write to a served release's store what feature tables have that is newer.

    Args:
        features: feature tables, as of some instant; made as the release's own were.
        release: the release's folder, at s3://, gs://, pvc://claim/path or a path; its manifests are read, no more.
        online: the store, redis[s]://[[user]:password@]host:port[/db].
        registry: an SQL registry of Feast that shall know the definitions, as an SQLAlchemy URL.

    Raises:
        BadInput: no search release of these features, tables that were made otherwise, another kind of store.
    """
    if online is None or not online.startswith(("redis://", "rediss://")):
        # Not shown: an address may hold a password.
        raise BadInput(f"{ONLINE_STORE}: only a store that servers share is refreshed, redis://host:port[/db]")
    manifest = read_manifest(features)
    as_of = datetime.fromisoformat(manifest["as_of"])
    with tempfile.TemporaryDirectory() as folder, offline_session():
        here = Path(folder)
        name = _release_name(release, manifest, here)
        store = connect(registry or here / "registry.db", online, project_of(name))
        store.apply(online_objects(here, here))
        since = fresh_as_of(store)
        if since and since >= as_of:
            _logger.info("features of release %s are as of %s already", name, since.isoformat())
            return Refreshed(name, since, since, {})
        rows = {view: _write_changed(features, view, since, as_of, here) for view in VIEWS}
        fill(store, here, here, as_of)
    _logger.info("features of release %s: as of %s, before %s", name, as_of.isoformat(), since and since.isoformat())
    return Refreshed(name, since, as_of, rows)


def _release_name(release: str, tables: Mapping[str, Any], folder: Path) -> str:
    """The name of a release that ranks by such features as `tables` describes; reads its manifests alone."""
    place = release.rstrip("/")
    copy = local_copy(f"{place}/{MANIFEST}", folder / "release").parent
    manifest = read_release(copy)
    if manifest["kind"] != SEARCH_RELEASE:
        raise BadInput(f"{release}: a release of relevance alone has no features to refresh")
    check_versions(copy)
    own = read_manifest(local_copy(f"{place}/features/{MANIFEST}", folder / "release" / "features").parent)
    for what in ("config", "markets"):
        if own[what] != tables[what]:
            raise BadInput(
                f"{release}: its features were made with {what} {own[what]}, these with {tables[what]}; "
                "the ranker would read what it did not learn from"
            )
    return str(manifest["digest"])[:NAME_DIGITS]


def _write_changed(features: Path, view: str, since: datetime | None, as_of: datetime, folder: Path) -> int:
    """Write the newest rows of a view that a store which is as of `since` may lack; their number."""
    rows = latest_rows(features, view, as_of)
    time = rows["event_timestamp"]
    if view in _TIMELESS:
        column = rows.schema.get_field_index("event_timestamp")
        rows = rows.set_column(column, "event_timestamp", pa.repeat(pa.scalar(as_of, TIMESTAMP), len(rows)))
    elif since and view not in PACKED:
        rows = rows.filter(pc.greater(time, pa.scalar(since, TIMESTAMP)))
    write_table(rows, folder / f"{view}.parquet")
    return int(rows.num_rows)
