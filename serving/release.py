"""A release folder as serving reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.releases import NAME_DIGITS, SEARCH_RELEASE, read_release


@dataclass(frozen=True)
class Limits:
    """What a search may spend on relevance that is not stored, as the release was built.

    Attributes:
        max_computed: most items of one search that are computed.
        micro_batch: pairs of one call.
        deadline_s: seconds from the request's arrival after which none is waited for.
    """

    max_computed: int
    micro_batch: int
    deadline_s: float


@dataclass(frozen=True)
class Release:
    """What the manifest says.

    Attributes:
        path: the folder.
        name: its first twelve digest characters.
        markets: served markets, in the order of their codes.
        has_search: whether it ranks, or scores relevance alone.
        experts: names, by slot.
        config: of its build, as in components.release.config.
    """

    path: Path
    name: str
    markets: tuple[str, ...]
    has_search: bool
    experts: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def limits(self) -> Limits:
        """Of computed relevance."""
        config = self.config
        return Limits(int(config["max_computed"]), int(config["micro_batch"]), config["deadline_ms"] / 1000)

    @property
    def repository(self) -> Path:
        """Triton's model repository."""
        return self.path / "triton"

    @property
    def features(self) -> Path:
        """The latest feature tables."""
        return self.path / "features"

    def catalogue(self) -> pa.Table:
        """Columns item_id, market, title, and category, price, brand where known."""
        return pq.read_table(self.path / "catalogue.parquet")


def open_release(path: Path) -> Release:
    """Read a release's manifest.

    Raises:
        BadInput: not a release folder, or its manifest is not as it was built.
    """
    manifest = read_release(path)
    return Release(
        path,
        str(manifest["digest"])[:NAME_DIGITS],
        tuple(manifest["markets"]),
        manifest["kind"] == SEARCH_RELEASE,
        tuple(expert["name"] for expert in manifest["experts"]),
        manifest["config"],
    )
