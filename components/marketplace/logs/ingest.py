"""Published layouts that `ingest` turns into the log contract, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from components.contracts.errors import BadInput
from components.marketplace.logs.layouts.analyticup import ingest_analyticup
from components.marketplace.logs.layouts.esci import ingest_esci
from components.marketplace.logs.layouts.jdsearch import ingest_jdsearch
from components.marketplace.logs.layouts.kuaisar import ingest_kuaisar
from components.marketplace.logs.layouts.obd import ingest_obd
from components.marketplace.logs.layouts.wands import ingest_wands

Ingester = Callable[[Path, Path], None]

FORMATS: Mapping[str, Ingester] = {
    "analyticup": ingest_analyticup,
    "esci": ingest_esci,
    "jdsearch": ingest_jdsearch,
    "kuaisar": ingest_kuaisar,
    "obd": ingest_obd,
    "wands": ingest_wands,
}


def ingest(format: str, source: Path, out: Path) -> None:  # noqa: A002 (the command's own word)
    """Read a published layout and write the tables it has, and a profile that names its markets, to `out`.

    Args:
        format: a key of FORMATS.
        source: the published file, or the folder of its files.
        out: directory to make, replaced as a whole: the tables that the layout has, `profile.yaml`, `manifest.json`.

    Raises:
        BadInput: an unknown format, or a file that does not have its layout.
    """
    if format not in FORMATS:
        raise BadInput(f"unknown format {format!r}; known: {', '.join(sorted(FORMATS))}")
    FORMATS[format](source, out)
