"""One process at a time, of those on this machine."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.contracts.errors import BadInput


@contextmanager
def alone_in(folder: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a folder; who asks for it meanwhile waits, and finds the work done. A process that ends lets go.

    Args:
        folder: that exists; nothing is added to it.
        busy: what to say instead of waiting.

    Raises:
        BadInput: `busy`, and somebody else holds the folder.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError as error:
        os.close(handle)
        raise BadInput(str(busy)) from error
    try:
        yield
    finally:
        os.close(handle)
