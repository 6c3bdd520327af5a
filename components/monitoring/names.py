"""Columns as people call them."""

import re

_KNOWN = {
    "p_click": "chance of a click",
    "p_purchase": "chance of a purchase",
    "native_click": "clicks",
    "score": "served score",
    "status (failed)": "requests that the server failed",
    "*": "rows",
}
_WORDS = {"ctr": "click rate"}
_DAYS = re.compile(r"_(\d+)d$")


def plain_name(column: str, table: str = "") -> str:
    """`user_clicks_7d` -> "user clicks in 7 days", `items.price` of the table items -> "price (items)"."""
    name = column.removeprefix(f"{table}.") if table else column
    if name in _KNOWN:
        said = _KNOWN[name]
    else:
        words = _DAYS.sub(r" in \1 days", name).replace("_", " ").split()
        said = " ".join(_WORDS.get(word, word) for word in words)
    return f"{said} ({table})" if table else said
