"""A release of no models: as much of one as its own checks look at."""

from pathlib import Path

from components.contracts.features import feature_schema
from components.contracts.releases import file_digests, release_digest, sealed
from components.contracts.text import TEXT_VERSION
from components.contracts.tools.manifest import write_json


def write_small_release(root: Path, schema: str | None = None) -> str:
    """Fill a folder with a release of two files, built for this code's features or for others; returns its name."""
    write_json(root / "blend.json", {})
    write_json(root / "triton" / "relevance" / "1" / "model.json", {"a": 1})
    files = file_digests(root)
    digest = release_digest(files)
    facts = {"kind": "search-release", "files": files, "digest": digest, "feature_schema": schema or feature_schema()}
    facts["text_version"] = TEXT_VERSION
    write_json(root / "manifest.json", sealed(facts))
    return digest[:12]
