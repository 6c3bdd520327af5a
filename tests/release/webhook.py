"""A server that takes a webhook's messages."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.loopback import Handler, on_loopback


@contextmanager
def webhook(told: list[dict[str, Any]], status: int = 200) -> Iterator[str]:
    """Yields the address; every message is added to `told` and answered with `status`."""

    class Taking(Handler):
        def do_POST(self) -> None:
            told.append(json.loads(self.content()))
            self.answer(status, {})

    with on_loopback(Taking) as address:
        yield f"{address}/hooks/T0KEN"
