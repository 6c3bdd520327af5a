"""What every layout shares: reading its files, making tables of them with SQL, and writing what was made."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from components.contracts.errors import BadInput
from components.contracts.files import SUFFIXES, find_table
from components.contracts.mapping import LogMapping
from components.contracts.schemas import LOG_TABLES, TableSchema
from components.contracts.tables import Limits, check_references, read_table, validate, write_table
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import file_digest, stage_directory, write_manifest
from components.marketplace.logs.layouts.profile import write_profile

_logger = get_logger(__name__)


def published(folder: Path, name: str) -> Path:
    """A layout's file in a folder, in whichever format it was published; BadInput where there is none."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    if (path := find_table(folder, name)) is None:
        raise BadInput(f"{folder}: no file {' or '.join(name + suffix for suffix in SUFFIXES)}")
    return path


def read_published(path: Path, schema: TableSchema, mapping: LogMapping | None = None) -> pa.Table:
    """The declared columns of a layout's file, and the number of each row in `row`, from 1."""
    table = read_table(path, schema, Limits(), mapping).select(list(schema.columns))
    return table.append_column("row", pa.array(range(1, table.num_rows + 1), pa.int64()))


def make_tables(sources: Mapping[str, pa.Table], queries: Mapping[str, str]) -> dict[str, pa.Table]:
    """A table per query, by name and in order; each may read the sources and the tables before it."""
    made = {}
    with duckdb.connect() as engine:
        for name, table in sources.items():
            engine.register(name, table)
        for name, query in queries.items():
            made[name] = engine.sql(query).to_arrow_table()
            engine.register(name, made[name])
    return made


def write_dataset(
    out: Path,
    layout: str,
    sources: Sequence[Path],
    markets: Sequence[str],
    tables: Mapping[str, pa.Table],
    counts: Mapping[str, int],
) -> None:
    """Check tables of the log contract and write them to `out`, with a profile that names their markets.

    Args:
        out: directory to make, replaced as a whole.
        layout: name of the published layout.
        sources: files that were read.
        markets: the markets, in the order of their codes.
        tables: some or all of the six, by name.
        counts: what was read and what was left out; the manifest and the log say so.

    Raises:
        BadInput: a table breaks the contract.
    """
    limits = Limits(markets)
    checked = {
        schema.name: validate(tables[schema.name], schema, f"{sources[0]}: {schema.name}", limits)
        for schema in LOG_TABLES
        if schema.name in tables
    }
    check_references(checked, str(sources[0]))
    report = {**counts, **{name: table.num_rows for name, table in checked.items()}}
    with stage_directory(out) as root:
        for name, table in checked.items():
            write_table(table, root / f"{name}.parquet")
        write_profile(root / "profile.yaml", markets)
        write_manifest(
            root,
            "ingested",
            config={"format": layout},
            inputs={source.name: file_digest(source) for source in sources},
            metrics=report,
            simulated=False,
            markets=list(markets),
        )
    _logger.info("%s: %s", layout, ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in report.items()))
    if "judgments" not in checked:
        _logger.info("%s has no judgments: a run wants some, at --judgments", layout)
