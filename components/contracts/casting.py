"""Casting columns, as files state them, to the types that schemas declare; what cannot be read is one BadInput.

CSV states everything as text, pandas turns integers with gaps into floats, engines differ in time units: all of these
mean the same log.
"""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput

_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI][nN][fF])$"
_DATE = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)"
# How writers of text spell "no number".
_MISSING = pa.array(["nan", "null", "none", "na"], pa.string())


def cast_column(values: pa.ChunkedArray, target: pa.DataType, where: str) -> pa.ChunkedArray:
    """The values as `target`; times without a zone are UTC, nanoseconds are cut to microseconds.

    Raises:
        BadInput: `where`, how many of how many values cannot be read as the type, and the first of them.
    """
    if values.type == target:
        return values
    try:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_timestamp(target):
            return _to_timestamp(values, target, where)
        if pa.types.is_string(values.type) and not pa.types.is_string(target):
            values = _numbers(values, where)
        if pa.types.is_floating(values.type) and pa.types.is_integer(target):
            values = pc.if_else(pc.is_nan(values), None, values)
            refuse(pc.not_equal(pc.round(values), values), values, where, "not a whole number")
        return values.cast(target)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"{where}: {len(values)} rows of {values.type}, cannot be read as {target} ({reason})"
        ) from error


def to_utc(instant: datetime) -> datetime:
    """The instant in UTC; a naive one is taken as UTC."""
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def refuse(at_fault: pa.ChunkedArray, values: pa.ChunkedArray, where: str, problem: str) -> None:
    """Raise BadInput if any value is at fault: how many of how many, and the first of them."""
    count = pc.sum(at_fault).as_py() or 0
    if count:
        example = values.filter(at_fault)[0].as_py()
        shown = repr(example) if len(repr(example)) <= 80 else repr(example)[:77] + "..."
        raise BadInput(f"{where}: {problem} in {count} of {len(values)} rows (first: {shown})")


def _numbers(texts: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(texts)
    missing = pc.or_(pc.is_in(pc.utf8_lower(trimmed), value_set=_MISSING), pc.equal(trimmed, ""))
    stated = pc.if_else(missing, None, trimmed)
    refuse(pc.invert(pc.match_substring_regex(stated, _NUMBER)), texts, where, "not a number")
    return stated.cast(pa.float64())


def _to_timestamp(values: pa.ChunkedArray, target: pa.DataType, where: str) -> pa.ChunkedArray:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = _instants(values, where)
    elif pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    elif not pa.types.is_timestamp(values.type):
        raise BadInput(f"{where}: {len(values)} rows of {values.type}, expected timestamps or ISO 8601 text")
    if values.type.tz is None:
        values = pc.assume_timezone(values, "UTC")
    return values.cast(target, safe=False)


def _instants(texts: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(texts)
    readable = pc.match_substring_regex(trimmed, f"^{_DATE}({_CLOCK}{_ZONE}?)?$")
    refuse(pc.invert(readable), texts, where, "not an ISO 8601 time")
    with_clock = pc.if_else(
        pc.match_substring_regex(trimmed, f"^{_DATE}$"), pc.binary_join_element_wise(trimmed, "T00:00", ""), trimmed
    )
    with_zone = pc.if_else(
        pc.match_substring_regex(with_clock, f"{_CLOCK}{_ZONE}$"),
        with_clock,
        pc.binary_join_element_wise(with_clock, "Z", ""),
    )
    return with_zone.cast(pa.timestamp("ns", tz="UTC"))
