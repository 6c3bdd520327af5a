"""From the parts of a serving log to the log contract: one file per table, as `archipelago run --data` reads them.

``python -m serving.observe.collect --log DIR --release RELEASE --out DIR``

Choices (ours):

- A candidate was exposed if an impression says so, at the place it names or else the candidate's rank, or if the user
  clicked it, put it into a cart or bought it from this answer, at its rank. All others were not: `position` is null.
- An event belongs to a request if both are of one user and the item was a candidate; otherwise its request_id is null.
  So the log may have lost parts, and a caller may send back what it likes; loading leaves out and counts search events
  without a request.
- Of events with one id, the first counts.
- Items are the releases' catalogues, users those of requests and events. Judgments are no part of a serving log.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.errors import BadInput
from components.contracts.schemas import CANDIDATES, EVENTS, IMPRESSIONS, REQUESTS
from components.contracts.tables import write_table
from components.contracts.tools.manifest import atomic_directory
from serving.release import open_release

_PARTS = "part-*"
_SCHEMAS = (REQUESTS, CANDIDATES, EVENTS, IMPRESSIONS)

# Views over the parts' tables, then the tables of the contract.
_VIEWS = """
CREATE VIEW served AS SELECT * FROM requests WHERE release IN (SELECT name FROM releases);
CREATE VIEW ranked AS
    SELECT candidates.*, served.user_id FROM candidates JOIN served USING (request_id);
CREATE VIEW acted AS
    SELECT events.* REPLACE (ranked.request_id AS request_id), ranked.rank
    FROM events LEFT JOIN ranked USING (request_id, item_id, user_id)
    WHERE item_id IN (SELECT item_id FROM items)
    QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY timestamp) = 1;
CREATE VIEW shown AS
    SELECT request_id, item_id, arg_min(coalesce(impressions.position, rank), timestamp) AS position
    FROM impressions JOIN ranked USING (request_id, item_id, user_id) GROUP BY ALL;
CREATE VIEW used AS SELECT DISTINCT request_id, item_id, rank FROM acted WHERE rank IS NOT NULL;
"""
_TABLES = {
    "items": "SELECT * FROM items",
    "users": """
        SELECT user_id, arg_min(market, timestamp) AS market FROM (
            SELECT user_id, market, timestamp FROM served
            UNION ALL SELECT user_id, market, timestamp FROM acted JOIN items USING (item_id)
        ) GROUP BY user_id ORDER BY user_id""",
    "requests": "SELECT * FROM served ORDER BY timestamp, request_id",
    "candidates": """
        SELECT ranked.* EXCLUDE (user_id) REPLACE (coalesce(shown.position, used.rank) AS position)
        FROM ranked LEFT JOIN shown USING (request_id, item_id) LEFT JOIN used USING (request_id, item_id)
        ORDER BY request_id, ranked.rank""",
    "events": "SELECT * EXCLUDE (rank) FROM acted ORDER BY timestamp, event_id",
}


def collect(log: Path, releases: Sequence[Path], out: Path) -> dict[str, int]:
    """Write items, users, requests, candidates and events to the folder `out`, replaced as a whole.

    Args:
        log: folder of a serving log, which may be written to meanwhile.
        releases: folders of releases; what others answered is left out.
        out: folder to make.

    Returns:
        Rows by table.

    Raises:
        BadInput: not a release, or the log holds no answer of these releases, or no event.
    """
    opened = [open_release(release) for release in releases]
    parts = sorted(path for path in log.glob(_PARTS) if path.is_dir())
    tables = {schema.name: _together(parts, schema.name) for schema in _SCHEMAS}
    if not tables["requests"].num_rows:
        raise BadInput(f"{log}: no part with requests")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        connection.register("releases", pa.table({"name": [release.name for release in opened]}))
        catalogues = pa.concat_tables([release.catalogue() for release in opened], promote_options="default")
        connection.register("catalogues", catalogues)
        connection.execute("CREATE VIEW items AS SELECT DISTINCT ON (item_id) * FROM catalogues ORDER BY item_id")
        connection.execute(_VIEWS)
        collected = {name: connection.execute(query).to_arrow_table() for name, query in _TABLES.items()}
    return _written(collected, log, out)


def _written(collected: Mapping[str, pa.Table], log: Path, out: Path) -> dict[str, int]:
    rows = {name: table.num_rows for name, table in collected.items()}
    empty = [name for name, count in rows.items() if not count]
    if empty:
        raise BadInput(f"{log}: no {' and no '.join(empty)} of these releases")
    with atomic_directory(out) as root:
        for name, table in collected.items():
            write_table(table, root / f"{name}.parquet")
    return rows


def _together(parts: Sequence[Path], name: str) -> pa.Table:
    schema = next(schema for schema in _SCHEMAS if schema.name == name)
    none = pa.schema([(column, rule.type) for column, rule in schema.columns.items()]).empty_table()
    found = [pq.read_table(part / f"{name}.parquet") for part in parts if (part / f"{name}.parquet").is_file()]
    return pa.concat_tables([none, *found], promote_options="default")


def main() -> None:
    """Collect a log; see the module."""
    parser = argparse.ArgumentParser(description="Serving log to the log contract.")
    parser.add_argument("--log", type=Path, required=True, help="folder of the serving log")
    parser.add_argument("--release", type=Path, nargs="+", required=True, help="folders of the releases that answered")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    args = parser.parse_args()
    rows = collect(args.log, args.release, args.out)
    print("wrote " + ", ".join(f"{count} {name}" for name, count in rows.items()))  # noqa: T201  a command's own voice


if __name__ == "__main__":
    main()
