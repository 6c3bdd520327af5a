"""Make the profile of a data set, and pair one with a data set that comes later."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pyarrow as pa

from components.contracts.errors import BadInput
from components.monitoring.config import MonitoringConfig
from components.monitoring.findings import EVERY_MARKET
from components.monitoring.profiles import ColumnProfile, TableProfile, read_profile
from components.monitoring.table_pairs import (
    TablePair,
    base_column,
    entities_of,
    frame_of,
    is_log,
    kind_of,
    lone_table,
    pair_samples,
    pair_sides,
    read_side,
    same_columns,
    span_of,
)
from components.monitoring.table_sample import PRIORITY, Sample
from components.monitoring.windows import ColumnSpec, column_values

# A type of each kind, to compare schemas with.
_TYPES = {
    "flag": pa.bool_(),
    "number": pa.float64(),
    "text": pa.string(),
    "time": pa.timestamp("us"),
    "empty": pa.null(),
    "other": pa.list_(pa.null()),
}


def make_profile(pairs: Sequence[TablePair], of_log: bool, config: MonitoringConfig) -> dict[str, TableProfile]:
    """The profile of the current side of each pair, which are of a log directory or one of a table."""
    return {p.name: _profile(p.name, p.sample, p.entity, of_log, config) for p in pairs if p.sample}


def profile_of(path: Path, config: MonitoringConfig) -> dict[str, TableProfile]:
    """The profile of a log directory, or of a table whose rows are each on its own."""
    side = read_side(path, config)
    return make_profile(pair_sides(side, side, entities_of(path, side, None)), is_log(path), config)


def _profile(name: str, sample: Sample, entity: str | None, of_log: bool, config: MonitoringConfig) -> TableProfile:
    pair = pair_samples(name, sample, sample, entity)
    frame = pair.current
    parts = {str(market): rows for market, rows in frame.groupby("market", sort=True)} | {EVERY_MARKET: frame}
    return TableProfile(
        of_log=of_log,
        kinds={column: kind_of(sample.table[column]) for column in sample.table.column_names},
        specs=[asdict(spec) for spec in pair.specs],
        days=pair.days[1],
        rows=dict(sample.rows),
        markets={market: _columns(rows, pair.specs, config) for market, rows in parts.items()},
    )


def _columns(rows: pd.DataFrame, specs: list[ColumnSpec], config: MonitoringConfig) -> dict[str, ColumnProfile]:
    if len(rows) > config.max_rows:
        rows = rows.nsmallest(config.max_rows, PRIORITY)
    return {
        spec.name: ColumnProfile.of(
            column_values(rows[spec.name], spec.kind), rows[spec.entity] if spec.entity else None, config.seed
        )
        for spec in specs
    }


def read_profile_pairs(reference: Path, current: Path, config: MonitoringConfig) -> list[TablePair]:
    """The tables of a profile and of a data set. Which rows belong together, the profile knows.

    Raises:
        BadInput: see `read_profile` and `read_side`; or one side is a log's and the other is not.
    """
    profiles = read_profile(reference)
    new = read_side(current, config)
    if any(profile.of_log != is_log(current) for profile in profiles.values()):
        raise BadInput(f"{reference} and {current}: one is of a log directory, the other is not")
    if not is_log(current):
        new = dict(zip(profiles, new.values(), strict=True))
    pairs = []
    for name in dict.fromkeys([*profiles, *new]):
        if name in profiles and name in new:
            pairs.append(pair_profile(name, profiles[name], new[name]))
        else:
            pairs.append(lone_table(name, new.get(name), entities_of(current, [name], None)[name]))
    return pairs


def pair_profile(name: str, profile: TableProfile, sample: Sample) -> TablePair:
    """A table now, and what its profile says of it before."""
    schema = pa.schema([(column, _TYPES[kind]) for column, kind in profile.kinds.items()])
    _, new, facts = same_columns(schema.empty_table(), sample.table)
    specs = [
        spec for spec in (ColumnSpec(**fields) for fields in profile.specs) if base_column(spec) in new.column_names
    ]
    entity = next((spec.entity for spec in specs if spec.entity), None)
    if entity and entity not in new.column_names:
        raise BadInput(f"{name}: no column {entity}, by which the profile's rows belong together")
    frame = frame_of(new, [spec for spec in specs if spec.name != "market"], entity)
    days = (profile.days, span_of(new, new)[1])
    return TablePair(name, profile, frame, specs, facts, days, (profile.rows, sample.rows), entity, sample)
