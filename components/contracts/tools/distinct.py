"""Work that repeats is done once."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")


def map_distinct(function: Callable[[Value], Result], values: Iterable[Value]) -> list[Result]:
    """`function` of every value, called once for each distinct one: a log repeats its queries and titles."""
    values = list(values)
    known = {value: function(value) for value in dict.fromkeys(values)}
    return [known[value] for value in values]
