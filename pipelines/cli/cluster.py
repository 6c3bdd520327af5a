"""Commands on Kubeflow's servers: submit a run, keep recurring runs as a file says them, register releases."""

from pathlib import Path
from typing import Annotated

import typer

schedules = typer.Typer(help="Recurring runs on a Kubeflow Pipelines server, from a file.", no_args_is_help=True)

Host = Annotated[
    str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="address of the server, e.g. http://localhost:8888")
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="your profile's, on a server with several users")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="file with a bearer token", show_default="the client's own variables, KF_PIPELINES_*"),
]


def submit(
    host: Host,
    profile: Annotated[str, typer.Option(help="built-in profile or a YAML file")] = "laptop",
    data: Annotated[
        str | None, typer.Option(help="folder of a log, at s3://, gs://, pvc://claim/path or a path")
    ] = None,
    judgments: Annotated[str | None, typer.Option(help="judgments file; alone: the relevance half only")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="ISO 8601 instant that counts as now", show_default="when the run starts")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="ROLE=IMAGE, once per role: data, train, monitor, serve")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the pipeline, as often as needed; VALUE as in YAML")
    ] = None,
    experiment: Annotated[str, typer.Option(help="that the run belongs to; made where absent")] = "archipelago",
    namespace: Namespace = None,
    token_file: TokenFile = None,
    wait: Annotated[bool, typer.Option("--wait", help="until the run ends, and end as it did")] = False,
) -> None:
    """Run the pipeline on a Kubeflow Pipelines server: compile it, upload it if it is new, start it.

    With --wait: 0 when the run succeeded, 1 when it failed, 4 when the gate refused the release.
    """
    from components.contracts.moments import parse_moment
    from pipelines.choices import images_by_role, source_of, values_by_name
    from pipelines.kubeflow import submission
    from pipelines.kubeflow.server import PipelineServer
    from pipelines.profile import load_profile

    source, chosen = source_of(data, judgments), load_profile(profile)
    moment = parse_moment(as_of, "--as-of").isoformat() if as_of else None
    named = {"as_of": moment, "data": data, "judgments": judgments}
    parameters = values_by_name(parameter or []) | {name: value for name, value in named.items() if value is not None}
    pipeline = submission.compiled(source, chosen, images_by_role(image or []))
    submission.check_parameters(pipeline, parameters, "--parameter")
    server = PipelineServer(host, namespace, token_file)
    version = submission.upload(server, pipeline)
    run_id = server.start(version, str(server.experiment(experiment)), pipeline.version, parameters)
    typer.echo(f"run {run_id} of {pipeline.pipeline} {pipeline.version}\n{server.link(run_id)}")
    if wait:
        submission.wait(server, run_id)
        typer.echo(f"run {run_id} succeeded")


@schedules.command()
def sync(
    file: Annotated[Path, typer.Argument(help="YAML file of schedules")],
    host: Host,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False,
) -> None:
    """Make the server's recurring runs those of a file: create, replace, remove. What others made stays."""
    from pipelines.kubeflow.schedules import read_schedules
    from pipelines.kubeflow.schedules import sync as synchronise
    from pipelines.kubeflow.server import PipelineServer

    wanted = read_schedules(file)
    for line in synchronise(PipelineServer(host, namespace, token_file), wanted, dry_run) or ["all as it should be"]:
        typer.echo(line)


Address = Annotated[
    str, typer.Option(help="a folder of releases, or the address of Kubeflow's Model Registry, http://host:8080")
]


def register(
    release: Annotated[Path, typer.Argument(help="a release's folder")],
    registry: Address,
    uri: Annotated[str | None, typer.Option(help="where the release lies, s3://bucket/<digest>: for a server")] = None,
    run: Annotated[str | None, typer.Option(help="id of the pipeline run that made it")] = None,
) -> None:
    """Register a release under its digest, with what it was made of; a second time changes nothing."""
    from components.release.registry import open_registry

    new = open_registry(registry).register(release, uri, run)
    typer.echo(f"{release}: {'registered' if new else 'was registered before'}")


def releases(registry: Address) -> None:
    """List the releases that are registered: digest, place, and the run that made it."""
    from components.release.registry import open_registry

    for found in open_registry(registry).releases():
        typer.echo("  ".join([found.name, found.uri, *([f"run {found.run}"] if found.run else [])]))
