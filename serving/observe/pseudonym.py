"""Pseudonyms of users: a keyed hash, so that who has a log and not the key cannot tell or guess who a user is."""

import hashlib
import hmac
import os
from pathlib import Path

from components.contracts.errors import BadInput

KEY_VARIABLE = "ARCHIPELAGO_LOG_KEY"
_LEAST_CHARS = 16


class Pseudonyms:
    """HMAC-SHA256 of user ids, the first 128 bits in hex; one key gives a user one pseudonym, in any process.

    Args:
        key: a secret; who changes it makes every user a new one.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def of(self, user_id: str) -> str:
        """The pseudonym of a user."""
        return hmac.digest(self._key, user_id.encode(), hashlib.sha256)[:16].hex()


def read_key(file: Path | None) -> str:
    """The key of a file, or of the variable ARCHIPELAGO_LOG_KEY.

    Raises:
        BadInput: neither is there, or the key has fewer than 16 characters.
    """
    try:
        key = file.read_text(encoding="utf-8").strip() if file else os.environ.get(KEY_VARIABLE, "")
    except (OSError, UnicodeError) as error:
        raise BadInput(f"{file}: not a readable key file ({error})") from error
    if len(key) < _LEAST_CHARS:
        raise BadInput(
            f"{file or KEY_VARIABLE}: a log needs a key for its users' pseudonyms, at least {_LEAST_CHARS} characters "
            f"(openssl rand -hex 32); found {len(key)}"
        )
    return key
