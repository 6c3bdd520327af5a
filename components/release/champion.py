"""The champion: the release that is served, as far as the gate compares with it."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.contracts.errors import BadInput
from components.contracts.locations import local_copy
from components.contracts.releases import NAME_DIGITS, read_release
from components.contracts.tools.cells import Estimate
from components.contracts.tools.manifest import MANIFEST


@dataclass(frozen=True)
class Champion:
    """A release that is served.

    Attributes:
        digest: of its content.
        as_of: end of the data that it learned from, ISO 8601.
        markets: that it serves.
        auc: market, "macro" or "pooled" -> the AUC that it was released with, and its 95 % interval.
    """

    digest: str
    as_of: str
    markets: tuple[str, ...]
    auc: Mapping[str, Estimate]

    @property
    def name(self) -> str:
        """Its twelve digits."""
        return self.digest[:NAME_DIGITS]


def read_champion(location: str) -> Champion:
    """The release in a folder: a path, pvc://claim/path, s3:// or gs://. Its manifest is all that is read.

    Raises:
        BadInput: no release lies there, its manifest has changed, or it states no figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest = read_release(local_copy(f"{location.rstrip('/')}/{MANIFEST}", Path(folder)).parent)
    figures = manifest.get("figures", {})
    if "pooled" not in figures.get("auc", {}):
        raise BadInput(f"{location}: a release that states no AUC, so that nothing can be compared with it")
    intervals = figures["intervals"]
    auc = {name: Estimate.of(value, intervals.get(name)) for name, value in figures["auc"].items()}
    return Champion(str(manifest["digest"]), str(manifest["as_of"]), tuple(manifest["markets"]), auc)
