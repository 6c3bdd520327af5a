"""Commands on what is served: which releases, a step forward, back; in a cluster, or on this machine.

`--namespace` chooses the InferenceService of a cluster; without it, two releases that one `archipelago serve` serves.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.contracts.errors import BadInput
from pipelines.cli.running import running

if TYPE_CHECKING:
    from components.release.cluster import Cluster

Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", help="of the InferenceService in a cluster", show_default="this machine's server"
    ),
]
Name = Annotated[str, typer.Option(help="of the InferenceService")]
Context = Annotated[str | None, typer.Option(help="of the kubeconfig", show_default="its current one")]
Url = Annotated[
    str | None,
    typer.Option(
        help="where the service answers", show_default="its name in a cluster, from outside through the API server"
    ),
]
Timeout = Annotated[float, typer.Option(min=0, help="seconds to wait until the release answers")]


def deploy(
    release: Annotated[str, typer.Argument(help="a release's folder, or at least twelve digits of its digest")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="of the InferenceService")],
    name: Name = "archipelago",
    store: Annotated[
        str | None,
        typer.Option(help="URI of the folder of releases, s3://bucket/releases", show_default="the served one's"),
    ] = None,
    canary_percent: Annotated[
        int | None,
        typer.Option(min=0, max=99, help="of requests, beside the served one", show_default="no canary, all"),
    ] = None,
    run: Annotated[str | None, typer.Option(help="id of the pipeline run that made it, kept in an annotation")] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            envvar="ARCHIPELAGO_PUBLIC_KEY", help="PEM file: deploy a release's folder only if its owner signed it"
        ),
    ] = None,
    context: Context = None,
    url: Url = None,
    timeout: Timeout = 900,
) -> None:
    """Serve a release in a cluster: name it in the InferenceService, and wait until the service answers with it.

    The release lies in the store already, under its digest. A folder's files, features and signature are checked before
    anything is changed. Ends with 0 only when the release itself answers.
    """
    from components.release import deploy as releasing

    if run and canary_percent is not None:
        raise BadInput("--run: is noted of a release that is served, not of a canary")
    folder = Path(release)
    if public_key and not folder.is_dir():
        raise BadInput(f"{release}: a signature is checked on a release's folder, not on a digest (--public-key)")
    digest = releasing.check_before_deploying(folder, public_key) if folder.is_dir() else release
    cluster = _cluster(namespace, name, context, url)
    said = releasing.deploy(cluster, digest, store, canary_percent, run, timeout)
    if canary_percent is None:
        typer.echo(f"serving {said}")
    else:
        typer.echo(f"canary {said} answers {canary_percent} % of requests")


def status(namespace: Namespace = None, name: Name = "archipelago", context: Context = None, url: Url = None) -> None:
    """Show what is served: each release's share and whether it answers; in a cluster, or on this machine."""
    if namespace is None:
        return _status_here(context)
    from components.release import deploy as releasing

    told = releasing.status(_cluster(namespace, name, context, url))
    for side in (told, told["canary"]):
        if side:
            answers = (
                "answers" if side["answers"] == side["release"] else f"not yet: {side['answers'] or 'nothing'} answers"
            )
            typer.echo(f"release {side['release']}  {side['share']} % of requests  {answers}")
    if told["run"]:
        typer.echo(f"made by run {told['run']}")
    if told["previous"]:
        typer.echo(f"before it {told['previous']}")
    return None


def promote(
    percent: Annotated[float, typer.Option(min=0, max=100, help="what the canary gets from now on")] = 100,
    namespace: Namespace = None,
    name: Name = "archipelago",
    context: Context = None,
    url: Url = None,
    timeout: Timeout = 900,
) -> None:
    """Give the canary more: a share, or all. On this machine of users, whom it keeps; in a cluster of requests.

    In a cluster, all makes its release the one that is served, and ends with 0 only when that answers.
    """
    if namespace is None:
        return _give_here(percent, context)
    from components.release import deploy as releasing

    if percent != int(percent):
        raise BadInput(f"--percent {percent:g}: a cluster takes whole percents")
    said = releasing.promote(_cluster(namespace, name, context, url), int(percent), timeout)
    typer.echo(f"serving {said}" if percent == 100 else f"canary {said} answers {percent:g} % of requests")
    return None


def rollback(
    namespace: Namespace = None,
    name: Name = "archipelago",
    context: Context = None,
    url: Url = None,
    timeout: Timeout = 900,
) -> None:
    """Take everything back from the canary; in a cluster without one, serve the release before."""
    if namespace is None:
        return _give_here(0, context)
    from components.release import deploy as releasing

    typer.echo(f"serving {releasing.rollback(_cluster(namespace, name, context, url), timeout)}")
    return None


def _cluster(namespace: str, name: str, context: str | None, url: str | None) -> "Cluster":
    from components.release.cluster import Cluster

    return Cluster(namespace, name, context, url)


def _status_here(context: str | None) -> None:
    import httpx

    note = _note(context)
    typer.echo(f"http {note['url']}")
    sides, shares = note["sides"], [100.0]
    if len(sides) > 1:
        from serving.local.traffic import read_percent

        canary = read_percent(Path(note["state"]))
        shares = [100 - canary, canary]
    for (name, url), share in zip(sides, shares, strict=True):
        try:
            ready = httpx.get(f"{url}/v2/health/ready", timeout=5).is_success
        except httpx.TransportError:
            ready = False
        typer.echo(f"release {name}  {share:g} % of users  {'ready' if ready else 'not ready'}  {url}")


def _give_here(percent: float, context: str | None) -> None:
    from serving.local.traffic import read_percent, write_percent

    state = Path(_note(context)["state"])
    before = read_percent(state)
    write_percent(state, percent)
    typer.echo(f"the canary serves {percent:g} % of users, {before:g} % before")


def _note(context: str | None) -> dict[str, Any]:
    """What is served on this machine, which nobody meant who names a cluster."""
    if context:
        raise BadInput("--context: names a cluster; name the --namespace of the InferenceService, too")
    return running()
