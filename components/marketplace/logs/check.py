"""All that is wrong with a log, said at once: what refuses it, and which rows would be left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from components.contracts.errors import BadInput, Fault
from components.marketplace.logs.config import LoadConfig
from components.marketplace.logs.contradictions import Dropped, refuse_many
from components.marketplace.logs.load import check_judgments, check_log


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        lines: to be read by a person: each fault, with its first rows.
        refused: number of faults for which the log would not be loaded.
    """

    lines: tuple[str, ...]
    refused: int


def check(
    data: Path | None, judgments: Path | None, markets: Sequence[str], as_of: datetime, config: LoadConfig
) -> Verdict:
    """Read a log, or judgments alone, as loading does, and tell all that is wrong; nothing is written.

    Arguments are those of `load_log`; without `data`, judgments are all there is.
    """
    faults: list[Fault | str] = []
    dropped: list[Dropped] = []
    rows: dict[str, int] = {}
    try:
        if data is None:
            assert judgments is not None
            rows["judgments"] = check_judgments(judgments, markets)[0].num_rows
        else:
            log = check_log(data, judgments, markets, as_of)
            dropped = log.dropped
            rows = {name: table.num_rows for name, table in log.tables.items()}
            refuse_many(dropped, config.max_dropped, str(data))
    except BadInput as error:
        faults += error.faults
    return Verdict((*_faults(faults), *_left_out(dropped), *_loadable(rows, faults)), len(faults))


def _faults(faults: Sequence[Fault | str]) -> Iterator[str]:
    for fault in faults:
        if isinstance(fault, Fault):
            yield f"refused: {fault.where}: {fault.problem} in {fault.rows:,} of {fault.of:,} rows"
            yield from (f"    row {row}: {value}" for row, value in fault.examples)
            yield from _others(fault.rows, len(fault.examples))
        else:
            yield f"refused: {fault}"


def _left_out(dropped: Sequence[Dropped]) -> Iterator[str]:
    for part in dropped:
        yield f"left out: {part.rows:,} of {part.of:,} {part.table}: {part.problem}"
        yield from (f"    {example}" for example in part.examples)
        yield from _others(part.rows, len(part.examples))


def _others(rows: int, shown: int) -> Iterator[str]:
    if rows > shown:
        yield f"    and {rows - shown:,} more"


def _loadable(rows: dict[str, int], faults: Sequence[Fault | str]) -> Iterator[str]:
    if not faults:
        yield f"would load {', '.join(f'{count:,} {name}' for name, count in rows.items())}"
