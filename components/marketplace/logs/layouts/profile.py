"""The profile that goes with ingested data."""

from collections.abc import Sequence
from pathlib import Path

import yaml


def write_profile(path: Path, markets: Sequence[str]) -> None:
    """Write an overlay of the laptop profile that names the data's markets."""
    content = {"extends": "laptop", "markets": list(markets)}
    path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), encoding="utf-8")
