"""Who is served by which of two releases: a share of users, kept in the state folder, that commands change."""

import hashlib
from pathlib import Path

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_json, write_json

_FILE = "traffic.json"
_SHARES = 10_000


def read_percent(state: Path) -> float:
    """Percent of users whom the canary serves.

    Raises:
        BadInput: no canary is served from this folder.
    """
    if not (state / _FILE).is_file():
        raise BadInput(f"{state}: no canary is served from this folder (archipelago serve RELEASE --canary OTHER)")
    return float(read_json(state / _FILE)["canary_percent"])


def write_percent(state: Path, percent: float) -> None:
    """Change it; a front follows with the next request."""
    if not 0 <= percent <= 100:
        raise BadInput(f"{percent} percent, expected 0 to 100")
    write_json(state / _FILE, {"canary_percent": percent})


def no_canary(state: Path) -> None:
    """Forget the share, when one release is served alone."""
    (state / _FILE).unlink(missing_ok=True)


def is_canarys(user_id: str, percent: float) -> bool:
    """Whether the canary serves a user: always the same ones, and a larger share holds a smaller one's."""
    place = int.from_bytes(hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[:8], "big") % _SHARES
    return place < percent * _SHARES / 100
