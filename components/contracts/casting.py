"""Casting columns, as files state them, to the types that schemas declare; what cannot be read is one BadInput.

CSV states everything as text, pandas turns integers with gaps into floats, engines differ in time units: all of these
mean the same log.
"""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput, Fault
from components.contracts.mapping import MAPPING, LogMapping

# Examples that are kept of each fault.
EXAMPLES = 20
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI][nN][fF])$"
# How thousands and decimals are set apart, by the way in which a mapping shows it.
_MARKS = {"1,234.50": (",", "."), "1.234,50": (r"\.", ","), "1 234,50": (r"[ \x{a0}\x{202f}]", ",")}
_THOUSANDS = r"^[1-9]\d{0,2}(\.\d{3})+$"
_DATE = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)"
_EPOCH = r"^\d+(\.\d+)?([eE]\+?\d+)?$"
_UNITS = {"s": 1_000_000, "ms": 1_000}
# Times outside of these are no times of a log, and Python has no words for them.
_FIRST, _LAST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# Whole numbers up to here are exact in a float of that many bits.
_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}
# How writers of text spell "no number".
_MISSING = pa.array(["nan", "null", "none", "na"], pa.string())


def cast_column(
    values: pa.ChunkedArray, target: pa.DataType, where: str, mapping: LogMapping | None = None
) -> pa.ChunkedArray:
    """The values as `target`; times without a zone are UTC, nanoseconds are cut to microseconds.

    As text, whole floats are the integers that they were made from.

    Raises:
        BadInput: `where`, how many of how many values cannot be read as the type, and the first of them.
    """
    mapping = mapping or LogMapping()
    try:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_timestamp(target):
            return _to_timestamp(values, target, where, mapping)
        if pa.types.is_string(target):
            return _to_text(values, where)
        if _is_text(values.type):
            values = _numbers(values, where, mapping)
        if pa.types.is_floating(values.type) and pa.types.is_integer(target):
            values = pc.if_else(pc.is_nan(values), None, values)
            refuse(pc.not_equal(pc.round(values), values), values, where, "not a whole number")
        return values.cast(target)
    except (pa.ArrowException, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"{where}: {len(values)} rows of {values.type}, cannot be read as {target} ({reason})"
        ) from error


def whole_ids(ids: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Ids of text in which every one is written as a whole float ("17.0"), as integers; other ids as they are.

    Raises:
        BadInput: ids are written in powers of ten, or above 2^53: digits are lost.
    """
    refuse(pc.match_substring_regex(ids, r"^\d\.\d+[eE]\+\d+$"), ids, where, "a float that lost its digits")
    floats = pc.all(pc.match_substring_regex(ids, r"^\d+\.0+$"), min_count=1).as_py()
    return _to_text(ids.cast(pa.float64()), where) if floats else ids


def to_utc(instant: datetime) -> datetime:
    """The instant in UTC; a naive one is taken as UTC."""
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def refuse(at_fault: pa.ChunkedArray, values: pa.ChunkedArray, where: str, problem: str) -> None:
    """Raise BadInput if any value is at fault: how many of how many, and the first of them."""
    if faults := faults_of(at_fault, values, where, problem):
        raise BadInput(*faults)


def faults_of(at_fault: pa.ChunkedArray, values: pa.ChunkedArray, where: str, problem: str) -> list[Fault]:
    """The fault of the values that are at fault; none where none is (null: not at fault)."""
    count = pc.sum(at_fault).as_py() or 0
    if not count:
        return []
    rows = pc.indices_nonzero(pc.fill_null(at_fault, False))[:EXAMPLES]
    shown = [repr(value) for value in values.take(rows).to_pylist()]
    examples = [text if len(text) <= 80 else text[:77] + "..." for text in shown]
    numbers = [row + 1 for row in rows.to_pylist()]
    return [Fault(where, problem, count, len(values), tuple(zip(numbers, examples, strict=True)))]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _to_text(values: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
        refuse(pc.not_equal(pc.round(values), values), values, where, "not a whole number, nor text")
        exact = _EXACT[values.type.bit_width]
        beyond = pc.greater(pc.abs(values), exact)
        lost = f"above 2^{exact.bit_length() - 1}, where a float loses digits (hand in integers or text)"
        refuse(beyond, values, where, lost)
        values = values.cast(pa.int64())
    elif pa.types.is_decimal(values.type):
        values = values.cast(pa.decimal128(38, 0))
    return values.cast(pa.string())


def _numbers(texts: pa.ChunkedArray, where: str, mapping: LogMapping) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(texts)
    missing = pc.or_(pc.is_in(pc.utf8_lower(trimmed), value_set=_MISSING), pc.equal(trimmed, ""))
    stated = pc.if_else(missing, None, trimmed)
    if mapping.numbers in _MARKS:
        thousands, point = _MARKS[mapping.numbers]
        shape = rf"^[+-]?(\d+|\d{{1,3}}({thousands}\d{{3}})+)({'[.]' if point == '.' else point}\d*)?$"
        refuse(pc.invert(pc.match_substring_regex(stated, shape)), texts, where, f"not a number like {mapping.numbers}")
        stated = pc.replace_substring(pc.replace_substring_regex(stated, thousands, ""), point, ".")
    refuse(pc.invert(pc.match_substring_regex(stated, _NUMBER)), texts, where, "not a number")
    return stated.cast(pa.float64())


def refuse_thousands(texts: pa.ChunkedArray, where: str) -> None:
    """Refuse text in which each number may have points for its thousands (12.000), unless a mapping says what they are.

    Raises:
        BadInput: every one of the numbers does.
    """
    alike = pc.match_substring_regex(pc.utf8_trim_whitespace(texts), _THOUSANDS)
    if pc.all(alike, min_count=1).as_py():
        ask = f'twelve or twelve thousand? State numbers: "1.234,50" or "1234.50" in {MAPPING}'
        refuse(alike, texts, where, f"may have points for thousands ({ask})")


def _to_timestamp(values: pa.ChunkedArray, target: pa.DataType, where: str, mapping: LogMapping) -> pa.ChunkedArray:
    if _is_text(values.type):
        trimmed = pc.utf8_trim_whitespace(values)
        if pc.all(pc.match_substring_regex(trimmed, _EPOCH), min_count=1).as_py():
            exact = pc.all(pc.match_substring_regex(trimmed, r"^\d{1,18}$")).as_py()
            values = trimmed.cast(pa.int64() if exact else pa.float64())
        else:
            values = _instants(values, where)
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        values = _since_1970(values, where, mapping)
    elif pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    elif not pa.types.is_timestamp(values.type):
        raise BadInput(f"{where}: {len(values)} rows of {values.type}, expected timestamps or ISO 8601 text")
    if values.type.tz is None:
        values = pc.assume_timezone(values, "UTC")
    cut = values.cast(target, safe=False)
    outside = pc.or_(pc.less(cut, pa.scalar(_FIRST, target)), pc.greater(cut, pa.scalar(_LAST, target)))
    refuse(outside, values.cast(pa.int64()), where, f"before {_FIRST.year} or after {_LAST.year}")
    return cut


def _since_1970(values: pa.ChunkedArray, where: str, mapping: LogMapping) -> pa.ChunkedArray:
    if mapping.times is None:
        choice = f"state times: s or times: ms in {MAPPING}"
        raise BadInput(f"{where}: numbers in {len(values)} rows, expected ISO 8601 text (since 1970: {choice})")
    scale, whole = _UNITS[mapping.times], pa.types.is_integer(values.type)
    instants = values.cast(pa.int64() if whole else pa.float64())
    if not whole:
        instants = pc.if_else(pc.is_nan(instants), None, instants)
    first, last = (int(limit.timestamp()) * 1_000_000 // scale for limit in (_FIRST, _LAST))
    outside = pc.or_(pc.less(instants, first), pc.greater(instants, last))
    other = "ms" if mapping.times == "s" else "s"
    refuse(outside, values, where, f"no time in {mapping.times} (is it {other}?)")
    instants = pc.multiply(instants, scale)
    instants = instants if whole else pc.round(instants).cast(pa.int64())
    return instants.cast(pa.timestamp("us", tz="UTC"))


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
