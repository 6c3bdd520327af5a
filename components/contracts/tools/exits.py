"""How a program ends when something is wrong: one line for people, and an exit code."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

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
        if reason := _is_full(error):
            _end(f"{error.filename2 or error.filename or 'a file'}: cannot be written ({reason})", 1)
        raise


def _is_full(error: OSError) -> str | None:
    """What the system says about a full disk, None where the error is another one."""
    if error.errno in _FULL:
        return error.strerror
    # Copying a folder gathers what went wrong as texts.
    reasons = [os.strerror(code) for code in _FULL] if isinstance(error, shutil.Error) else []
    return next((reason for reason in reasons if reason in str(error)), None)


def _end(message: str, code: int) -> NoReturn:
    print(f"archipelago: {message}", file=sys.stderr)  # noqa: T201  the command's own voice
    sys.exit(code)
