"""Commands on data: ingest published layouts, compare two data sets."""

from pathlib import Path
from typing import Annotated

import typer

from components.contracts.errors import BadInput, DriftFound


def ingest(
    format_: Annotated[
        str, typer.Option("--format", help="layout of the source: analyticup, esci, jdsearch, kuaisar, obd or wands")
    ],
    source: Annotated[Path, typer.Option("--in", help="a file or folder in that layout")],
    out: Annotated[Path, typer.Option("--out", help="folder for the converted tables and profile.yaml")],
) -> None:
    """Convert a published data set to the input contract, with a profile that names its markets."""
    from components.marketplace.logs.ingest import ingest as convert

    convert(format_, source, out)
    typer.echo(f"wrote {', '.join(sorted(path.name for path in out.iterdir()))} to {out}")


def check(
    data: Annotated[
        Path | None, typer.Option(help="folder with items, users, requests, candidates, events, judgments")
    ] = None,
    judgments: Annotated[Path | None, typer.Option(help="judgments file; alone: checks nothing else")] = None,
    profile: Annotated[str, typer.Option(help="whose markets and limits count: built-in or a YAML file")] = "laptop",
    as_of: Annotated[str | None, typer.Option(help="ISO 8601 instant that counts as now")] = None,
) -> None:
    """Say all that is wrong with a log, before anything runs: what is refused, and which rows would be left out."""
    from components.contracts.moments import moment_of_run, parse_moment
    from components.marketplace.logs.check import check as check_files
    from pipelines.profile import load_profile

    if data is None and judgments is None:
        raise BadInput("name what to check: --data FOLDER, or --judgments FILE")
    chosen = load_profile(profile)
    moment = parse_moment(as_of, "--as-of") if as_of else moment_of_run()
    verdict = check_files(data, judgments, chosen.markets, moment, chosen.load)
    for line in verdict.lines:
        typer.echo(line)
    if verdict.refused:
        raise BadInput(f"{data or judgments}: refused; faults: {verdict.refused}, all of them above")


def simulate(
    out: Annotated[Path, typer.Option(help="new folder for the log")],
    profile: Annotated[str, typer.Option(help="whose section marketplace is the world: built-in or a YAML file")] = (
        "laptop"
    ),
    seed: Annotated[int | None, typer.Option(help="another draw of that world", show_default="the profile's")] = None,
    scale: Annotated[float, typer.Option(min=0.01, help="times its users and requests")] = 1.0,
    as_of: Annotated[
        str | None, typer.Option(help="ISO 8601 instant at which the log ends", show_default="the profile's")
    ] = None,
) -> None:
    """Write a simulated log, with the truth beside it: the first step of a run without data, by itself."""
    from components.contracts.moments import parse_moment
    from components.marketplace.report import REPORT
    from components.marketplace.simulator.simulate import simulate as simulate_log
    from pipelines.profile import load_profile

    if out.exists() and any(out.iterdir()):
        raise BadInput(f"--out {out}: not empty; name a new folder, nothing is overwritten")
    chosen = load_profile(profile)
    world = chosen.marketplace if seed is None else chosen.marketplace.model_copy(update={"seed": seed})
    moment = parse_moment(as_of, "--as-of") if as_of else chosen.simulated_as_of
    simulate_log(world.scaled(scale), moment, out)
    typer.echo(f"wrote a simulated log to {out}; its report: {out / REPORT}")


def drift(
    reference: Annotated[
        Path,
        typer.Option(
            help="a table (Parquet, CSV, JSON lines; a file or a folder of parts), a log folder, or the profile.json "
            "that an earlier comparison wrote"
        ),
    ],
    current: Annotated[Path, typer.Option(help="what to compare with it, of the same kind")],
    out: Annotated[Path, typer.Option(help="folder for drift.json and the HTML reports")],
    entity: Annotated[
        str | None, typer.Option(help="column whose rows belong together, e.g. user_id; none: each row on its own")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="--out of the window before: the same warning three times is critical")
    ] = None,
    profile: Annotated[str, typer.Option(help="whose monitoring section sets methods and thresholds")] = "laptop",
) -> None:
    """Compare two data sets; exits with 3 where something critical moved, with 0 and a word on each warning else."""
    from components.monitoring.drift import compare
    from pipelines.profile import load_profile

    drifted = compare(reference, current, load_profile(profile).monitoring, out, entity, previous)
    typer.echo(f"reports: {out / 'reports'}")
    if drifted:
        raise DriftFound(f"{current} drifted from {reference}: see {out / 'drift.json'}")


def monitor(
    runs: Annotated[Path, typer.Option(help="folder with runs, or with what `drift` wrote, at any depth")] = Path(
        "runs"
    ),
    workspace: Annotated[
        Path | None, typer.Option(help="folder of Evidently's workspace", show_default="evidently in --runs")
    ] = None,
    ui: Annotated[bool, typer.Option("--ui", help="serve Evidently's UI on loopback until interrupted")] = False,
    port: Annotated[int, typer.Option(help="of the UI")] = 8090,
) -> None:
    """Gather all drift comparisons in an Evidently workspace: a project a market, with reports and trends."""
    from components.monitoring.workspace import HOST, add_runs, serve_ui

    held = workspace or runs / "evidently"
    typer.echo(f"{add_runs(runs, held)} comparisons added to {held}")
    if ui:
        typer.echo(f"page     http://{HOST}:{port}")
        serve_ui(held, port)
