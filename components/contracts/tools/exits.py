"""How a program ends when something is wrong: one line for people, and an exit code."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from components.contracts.errors import ArchipelagoError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the program at an error that a user can act on, without a traceback.

    Exit codes: that of an ArchipelagoError; 1 for a full disk.
    """
    try:
        yield
    except ArchipelagoError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _end(f"{error.filename or 'a file'}: cannot be written ({error.strerror})", 1)


def _end(message: str, code: int) -> None:
    print(f"archipelago: {message}", file=sys.stderr)  # noqa: T201  the command's own voice
    sys.exit(code)
