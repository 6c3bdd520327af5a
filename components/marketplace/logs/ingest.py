"""Published layouts that `ingest` turns into the log contract, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from components.contracts.errors import BadInput
from components.marketplace.logs.layouts.analyticup import ingest_analyticup

Ingester = Callable[[Path, Path], None]

FORMATS: Mapping[str, Ingester] = {"analyticup": ingest_analyticup}


def ingest(format: str, source: Path, out: Path) -> None:  # noqa: A002 (the command's own word)
    """Read a published layout and write the tables it has, and a profile that names its markets, to `out`.

    Args:
        format: a key of FORMATS.
        source: the published file.
        out: directory to make, replaced as a whole: `judgments.parquet`, `profile.yaml`, `manifest.json`.

    Raises:
        BadInput: an unknown format, or a file that does not have its layout.
    """
    if format not in FORMATS:
        raise BadInput(f"unknown format {format!r}; known: {', '.join(sorted(FORMATS))}")
    FORMATS[format](source, out)
