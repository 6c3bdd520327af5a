"""When an answer is due, counted from the moment at which its request arrived.

The servers note the arrival (`arrive`) as soon as they see a call, so that waiting counts; models ask for it later in
the same call. A caller limits its wait in two ways: gRPC's deadline, and V2's request parameter `timeout`, in
microseconds. Times are seconds of `time.monotonic`.
"""

import math
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from components.contracts.errors import BadInput

_TIMEOUT = "timeout"


@dataclass(frozen=True)
class Call:
    """One request: when it arrived, and when its caller stops waiting (infinity: it does not say)."""

    arrived: float
    due: float

    def within(self, seconds: float) -> float:
        """The earlier of `seconds` after arrival and the caller's own limit."""
        return min(self.arrived + seconds, self.due)


_call: ContextVar[Call | None] = ContextVar("call", default=None)


def arrive(waits_s: float | None = None) -> None:
    """Note that a request has arrived, in the context of the task that answers it; `waits_s` is what gRPC says."""
    now = time.monotonic()
    _call.set(Call(now, math.inf if waits_s is None else now + waits_s))


def call_of(parameters: Mapping[str, Any] | None) -> Call:
    """The current call, its limit shortened by V2's `timeout` among a request's parameters.

    Raises:
        BadInput: `timeout` is not a positive whole number.
    """
    now = time.monotonic()
    call = _call.get() or Call(now, math.inf)
    microseconds = (parameters or {}).get(_TIMEOUT)
    if microseconds is None:
        return call
    if not isinstance(microseconds, int) or isinstance(microseconds, bool) or microseconds <= 0:
        raise BadInput(f"parameter {_TIMEOUT}: {microseconds!r}, expected microseconds, a whole number above 0")
    return Call(call.arrived, call.within(microseconds / 1e6))
