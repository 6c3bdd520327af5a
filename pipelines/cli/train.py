"""Commands that train: run the pipeline here, or compile it for a cluster."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from components.contracts.errors import BadInput
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import write_json
from pipelines.choices import PipelineKind, Runner, Source, images_by_role, source_of

_logger = get_logger(__name__)
_SOURCES: dict[Source, str] = {"simulator": "a simulated marketplace", "log": "your log", "judgments": "your judgments"}


def run(
    profile: Annotated[
        str | None,
        typer.Option(
            help="built-in profile or a YAML file", show_default="laptop, or the profile.yaml beside --judgments"
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="folder with items, users, requests, candidates, events, judgments")
    ] = None,
    judgments: Annotated[Path | None, typer.Option(help="judgments file; alone: the relevance half only")] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for everything the run leaves", show_default="runs/<profile>-<time>")
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="ISO 8601 instant that counts as now")] = None,
    champion: Annotated[
        Path | None, typer.Option(help="folder of the release that is served: the gate compares with it")
    ] = None,
    runner: Annotated[Runner, typer.Option(help="run steps as subprocesses or in their images")] = "subprocess",
    serve: Annotated[bool, typer.Option(help="serve the release at the end and check its answers")] = True,
) -> None:
    """Train, check and release: the whole pipeline on this machine. Without data, on a simulated marketplace.

    Where the quality gate refuses a release, the run leaves all else, reports and summary included, and ends with 4.
    """
    from components.contracts.moments import moment_of_run, parse_moment
    from components.release.champion import read_champion
    from components.release.gate import require_passed
    from pipelines.index_page import write_index
    from pipelines.profile import load_profile
    from pipelines.runner import check_input, peak_memory, run_pipeline
    from pipelines.summary import show, summarise

    source = source_of(data, judgments)
    chosen = load_profile(profile or _profile_beside(judgments) or "laptop")
    out = out or Path("runs") / f"{chosen.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if out.exists() and any(out.iterdir()):
        raise BadInput(f"--out {out}: not empty; name a new folder, nothing is overwritten")
    if champion:
        read_champion(str(champion))  # what is no release is said now
    moment = parse_moment(as_of, "--as-of") if as_of else moment_of_run()
    if source != "simulator":
        moment = check_input(source, data, judgments, chosen, moment)
    elif as_of is None:
        moment = chosen.simulated_as_of

    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    _logger.info("profile %s on %s; all it leaves goes into %s", chosen.name, _SOURCES[source], out)
    with peak_memory() as peak:
        finished = run_pipeline(source, chosen, out, moment, data, judgments, champion, runner)
        built = finished.artifacts.get("release")
        release = _keep_release(built, out / "releases") if built else None
        serving = _check_serving(release, out / "serving") if release and serve else None
    summary = summarise(finished, out, release, serving, chosen.gate)
    summary |= {"seconds": round(time.perf_counter() - started, 1), "peak_rss_mb": round(peak[0], 1)}
    summary["reports"] = {"index": str(write_index(summary, out))} | summary["reports"]
    write_json(out / "summary.json", summary)
    typer.echo(f"summary: {out / 'summary.json'}")
    show(summary)
    require_passed(finished.artifacts["verdict"])


def compile_(
    out: Annotated[Path, typer.Option(help="target file (.yaml)")],
    profile: Annotated[str, typer.Option(help="built-in profile or a YAML file")] = "laptop",
    source: Annotated[
        PipelineKind,
        typer.Option(help="where the log comes from; instead of training: pairs to score, features of served releases"),
    ] = "simulator",
    image: Annotated[
        list[str] | None, typer.Option(help="ROLE=IMAGE, once per role: data, train, monitor, serve")
    ] = None,
    manifests: Annotated[
        bool,
        typer.Option("--manifests", help="as Pipeline and PipelineVersion, for a server that keeps them in Kubernetes"),
    ] = False,
) -> None:
    """Compile the pipeline to YAML for Kubeflow Pipelines."""
    from pipelines.compile import compile_pipeline
    from pipelines.profile import load_profile

    chosen, images = load_profile(profile), images_by_role(image or [])
    if manifests:
        from pipelines.kubeflow.manifests import write_manifests
        from pipelines.kubeflow.submission import compiled

        write_manifests(compiled(source, chosen, images), out)
    else:
        compile_pipeline(source, chosen, out, images)
    typer.echo(f"wrote {out}")


def _profile_beside(judgments: Path | None) -> str | None:
    """The profile that ingestion wrote beside the judgments, where there is one."""
    if judgments is None or not (beside := judgments.parent / "profile.yaml").is_file():
        return None
    _logger.info("using the profile beside the judgments: %s", beside)
    return str(beside)


def _keep_release(artifact: Path, releases: Path) -> Path:
    """Register the release of the pipeline's folder in a folder of its own, `releases/<digest>`."""
    from components.release.registry import FolderRegistry

    (built,) = (path for path in artifact.iterdir() if path.is_dir())
    FolderRegistry(releases).register(built, None, None)
    return releases / built.name


def _check_serving(release: Path, state: Path) -> dict[str, Any]:
    from serving.local.check import check_serving
    from serving.local.launcher import serve_release

    _logger.info("serve: start Triton and the transformer, and compare their answers with offline scores")
    with serve_release(release, state) as service:
        return check_serving(release, service.url)
