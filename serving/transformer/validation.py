"""What a request must be: every rule of the public surface in one place, with no server in sight.

A violation is a BadInput whose message says which input, where in it, and what was expected. Texts that go into a
message are shortened and shown with `repr`, so that no request can make its own error unprintable.
"""

import re
import reprlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.text import (
    BLANK,
    MAX_QUERY_CHARS,
    MAX_TITLE_CHARS,
    normalise_query,
    normalise_title,
    too_long,
)

MAX_ITEMS = 1000
MAX_ID_BYTES = 256
# Beyond what any model or client needs; a body of the largest size could name millions.
MAX_TENSORS = 16
MAX_PARAMETERS = 64
_SHOWN = 5
_BLANK = re.compile(BLANK)


@dataclass(frozen=True)
class RawInput:
    """One input tensor as it came over the wire: V2 datatype, shape, and values (bytes, or whatever JSON held)."""

    name: str
    datatype: str
    shape: Sequence[Any]
    values: Sequence[Any]


@dataclass(frozen=True)
class SearchRequest:
    """A valid request to rank items."""

    market: str
    user_id: str
    query: str
    item_ids: list[str]


@dataclass(frozen=True)
class RelevanceRequest:
    """A valid request to score n pairs; lists of equal length."""

    markets: list[str]
    queries: list[str]
    titles: list[str]


class Catalogue:
    """Items by id: market and title."""

    def __init__(self, item_ids: Sequence[str], markets: Sequence[str], titles: Sequence[str]) -> None:
        self._items = dict(zip(item_ids, zip(markets, titles, strict=True), strict=True))

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def titles(self, item_ids: Sequence[str], market: str) -> list[str]:
        """Titles of a market's items.

        Raises:
            BadInput: an item is unknown, or of another market.
        """
        unknown = [item_id for item_id in item_ids if item_id not in self._items]
        if unknown:
            raise BadInput(f"item_ids: {_count(unknown, item_ids)} not in this release's catalogue: {_show(unknown)}")
        foreign = [item_id for item_id in item_ids if self._items[item_id][0] != market]
        if foreign:
            theirs = self._items[foreign[0]][0]
            raise BadInput(
                f"item_ids: {_count(foreign, item_ids)} not of market {market}: {_show(foreign)} "
                f"({foreign[0]} is of {theirs})"
            )
        return [self._items[item_id][1] for item_id in item_ids]


def search_request(inputs: Sequence[RawInput], markets: Sequence[str]) -> SearchRequest:
    """Check the inputs of `search`; the catalogue is checked by `Catalogue.titles`.

    Raises:
        BadInput: a rule is broken.
    """
    texts = _texts(inputs, {"market": 1, "user_id": 1, "query": 1, "item_ids": None})
    (market,), (user_id,), (query,), item_ids = (texts[n] for n in ("market", "user_id", "query", "item_ids"))
    _check_markets([market], markets)
    check_ids("user_id", [user_id])
    check_ids("item_ids", item_ids)
    _check_texts("query", [query], normalise_query, MAX_QUERY_CHARS)
    seen: set[str] = set()
    repeated = [item_id for item_id in item_ids if item_id in seen or seen.add(item_id)]  # type: ignore[func-returns-value]
    if repeated:
        raise BadInput(f"item_ids: {_count(repeated, item_ids)} given more than once: {_show(repeated)}")
    return SearchRequest(market, user_id, query, item_ids)


def relevance_request(inputs: Sequence[RawInput], markets: Sequence[str]) -> RelevanceRequest:
    """Check the inputs of `relevance`.

    Raises:
        BadInput: a rule is broken.
    """
    texts = _texts(inputs, {"market": None, "query": None, "title": None})
    lengths = {name: len(values) for name, values in texts.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} [{length}]" for name, length in lengths.items())
        raise BadInput(f"market, query and title must have the same length, found {shown}")
    _check_markets(texts["market"], markets)
    _check_texts("query", texts["query"], normalise_query, MAX_QUERY_CHARS)
    _check_texts("title", texts["title"], normalise_title, MAX_TITLE_CHARS)
    return RelevanceRequest(texts["market"], texts["query"], texts["title"])


def check_count(number: int, limit: int, what: str) -> None:
    """Refuse more of something than anybody needs.

    Raises:
        BadInput: there are more than `limit`.
    """
    if number > limit:
        raise BadInput(f"{number} {what}, at most {limit}")


def check_request_id(value: object) -> str:
    """The id that a caller gave its request, empty where it gave none.

    Raises:
        BadInput: it is no id.
    """
    if value is None or value == "":
        return ""
    text = _string(value, "id")
    check_ids("id", [text])
    return text


def _texts(inputs: Sequence[RawInput], expected: Mapping[str, int | None]) -> dict[str, list[str]]:
    """Strings of the expected inputs: name -> exact length, or None for 1 to MAX_ITEMS."""
    names = [each.name for each in inputs]
    shown = ", ".join(expected)
    for name in names:
        if name not in expected:
            raise BadInput(f"unexpected input {shorten(name)} (expected: {shown})")
        if names.count(name) > 1:
            raise BadInput(f"input {name} is there {names.count(name)} times")
    missing = [name for name in expected if name not in names]
    if missing:
        raise BadInput(f"missing input {', '.join(missing)} (expected: {shown})")
    by_name = {each.name: each for each in inputs}
    return {name: _strings(by_name[name], length) for name, length in expected.items()}


def _strings(tensor: RawInput, length: int | None) -> list[str]:
    where = f"input {tensor.name}"
    if tensor.datatype != "BYTES":
        raise BadInput(f"{where}: datatype {shorten(tensor.datatype)}, expected BYTES")
    shape = list(tensor.shape)
    wanted = f"[{length}]" if length is not None else f"[n], n from 1 to {MAX_ITEMS}"
    if len(shape) != 1 or not isinstance(shape[0], int) or isinstance(shape[0], bool):
        raise BadInput(f"{where}: shape {shorten(shape)}, expected {wanted}")
    if shape[0] != length if length is not None else not 1 <= shape[0] <= MAX_ITEMS:
        raise BadInput(f"{where}: shape [{shape[0]}], expected {wanted}")
    if len(tensor.values) != shape[0]:
        raise BadInput(f"{where}: {len(tensor.values)} values for shape [{shape[0]}]")
    return [_string(value, f"{where}: value {place}") for place, value in enumerate(tensor.values)]


def _string(value: object, where: str) -> str:
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if isinstance(value, str):
            value.encode("utf-8")  # JSON can spell half a surrogate pair, which no encoding can carry on
            return value
    except UnicodeError as error:
        raise BadInput(f"{where} is not UTF-8 text: {shorten(value)}") from error
    raise BadInput(f"{where} is {shorten(value)}, expected text")


def _check_markets(found: Sequence[str], markets: Sequence[str]) -> None:
    for place, market in enumerate(found):
        if market not in markets:
            raise BadInput(f"market: value {place}: unknown market {shorten(market)} (served: {', '.join(markets)})")


def _check_texts(name: str, values: Sequence[str], normalise: Callable[[str], str], max_chars: int) -> None:
    checked: set[str] = set()
    for place, value in enumerate(values):
        if value in checked:
            continue
        if too_long(value, normalise, max_chars):
            found = f"{len(value)} characters" if len(value) > max_chars else "more characters in normal form"
            raise BadInput(f"{name}: value {place} has {found}, at most {max_chars}")
        _check_not_blank(name, place, value)
        checked.add(value)


def check_ids(name: str, values: Sequence[str]) -> None:
    """Raise BadInput unless all are ids: short enough, and something to see in each."""
    for place, value in enumerate(values):
        if len(value.encode()) > MAX_ID_BYTES:
            raise BadInput(f"{name}: value {place} has {len(value.encode())} bytes, at most {MAX_ID_BYTES}")
        if any(unicodedata.category(character) == "Cc" for character in value):
            raise BadInput(f"{name}: value {place} has a control character: {shorten(value)}")
        _check_not_blank(name, place, value)


def _check_not_blank(name: str, place: int, value: str) -> None:
    if _BLANK.match(value):
        raise BadInput(f"{name}: value {place} is blank")


def _count(some: Sequence[str], of: Sequence[str]) -> str:
    return f"{len(some)} of {len(of)}"


def _show(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(shorten(item_id) for item_id in ids[:_SHOWN]) + more


def shorten(value: object) -> str:
    """What a caller sent, for a message: printable, on one line, at most 60 characters."""
    # Cut before it is spelled out, too: it may be as long as a body.
    if isinstance(value, bytes):
        text = ascii(value[:61])
    elif isinstance(value, str):
        text = repr(value[:61])
    else:
        text = reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
