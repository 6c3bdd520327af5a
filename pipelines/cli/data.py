"""Commands on data: ingest published layouts, compare two data sets."""

from pathlib import Path
from typing import Annotated

import typer

from components.contracts.errors import DriftFound


def ingest(
    format_: Annotated[str, typer.Option("--format", help="layout of the source: analyticup")],
    source: Annotated[Path, typer.Option("--in", help="a file or folder in that layout")],
    out: Annotated[Path, typer.Option("--out", help="folder for the converted tables and profile.yaml")],
) -> None:
    """Convert a published data set to the input contract, with a profile that names its markets."""
    from components.marketplace.logs.ingest import ingest as convert

    convert(format_, source, out)
    typer.echo(f"wrote {', '.join(sorted(path.name for path in out.iterdir()))} to {out}")


def drift(
    reference: Annotated[Path, typer.Option(help="a table (.parquet, .csv, .csv.gz) or a log folder")],
    current: Annotated[Path, typer.Option(help="what to compare with it, of the same kind")],
    out: Annotated[Path, typer.Option(help="folder for drift.json and the HTML reports")],
    profile: Annotated[str, typer.Option(help="whose monitoring section sets methods and thresholds")] = "laptop",
) -> None:
    """Compare two data sets with Evidently; exits with 3 where they drifted apart."""
    from components.monitoring.drift import compare
    from pipelines.profile import load_profile

    drifted = compare(reference, current, load_profile(profile).monitoring, out)
    typer.echo(f"reports: {out / 'reports'}")
    if drifted:
        raise DriftFound(f"{current} drifted from {reference}: see {out / 'drift.json'}")
