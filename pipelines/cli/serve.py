"""Commands around a release: serve it, query it, score pairs with it."""

import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

from components.contracts.errors import BadInput
from components.contracts.releases import ONLINE_STORE, PUBLIC_KEY
from pipelines.cli.running import announced, running


def serve(
    release: Annotated[Path, typer.Argument(help="a release folder")],
    state: Annotated[
        Path | None, typer.Option(help="folder for the online store and logs", show_default="beside the release")
    ] = None,
    port: Annotated[int, typer.Option(help="HTTP port of the service; 0 picks a free one")] = 8080,
    online: Annotated[
        str | None,
        typer.Option(
            envvar=ONLINE_STORE, help="online store, redis://host:port", show_default="a file in the state folder"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes of the service, which share its ports")] = 1,
    canary: Annotated[Path | None, typer.Option(help="another release, for a share of the users")] = None,
    canary_percent: Annotated[float, typer.Option(min=0, max=100, help="of users whom the canary serves")] = 10,
    log: Annotated[Path | None, typer.Option(help="folder of the serving log", show_default="no log")] = None,
    log_key_file: Annotated[
        Path | None,
        typer.Option(help="file of the key of users' pseudonyms", show_default="variable ARCHIPELAGO_LOG_KEY"),
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(envvar=PUBLIC_KEY, help="PEM file: serve only what its owner signed (`sign`)")
    ] = None,
) -> None:
    """Serve a release on loopback: Triton and the KServe transformer, until interrupted."""
    from serving.local.launcher import serve_release
    from serving.observe.pseudonym import read_key

    state = state or release.parent / f"{release.name}-state"
    flags = ["--page"]
    if log:
        read_key(log_key_file)  # before anything is started
        flags.append(f"--log_folder={log.resolve()}")
        if log_key_file:
            flags.append(f"--log_key_file={log_key_file.resolve()}")
    beside = (canary, canary_percent) if canary else None
    with serve_release(
        release,
        state,
        http_port=port,
        online=online,
        workers=workers,
        flags=flags,
        canary=beside,
        public_key=public_key,
    ) as service:
        typer.echo(f"http {service.url}")
        typer.echo(f"grpc {service.grpc_url}")
        typer.echo(f"triton {service.triton_url}")
        second = f"?with={list(service.sides.values())[1]}" if canary else ""
        typer.echo(f"page {service.url}/page/{second}")
        note = {"release": str(release.resolve()), "url": service.url, "state": str(state.resolve())}
        with announced(**note, sides=list(service.sides.items())):
            typer.echo("ready")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})


def sign(
    release: Annotated[Path, typer.Argument(help="a release folder")],
    key: Annotated[
        Path, typer.Option(help="PEM file of a P-256 private key; keep it out of releases and repositories")
    ],
) -> None:
    """Sign a release: who has the public key can tell that its files are yours, and as you built them."""
    from components.contracts.signature import sign_release

    typer.echo(f"wrote {sign_release(release, key)}")


def query(
    text: Annotated[str, typer.Argument(help="the query, as a shopper types it")],
    market: Annotated[str, typer.Option(help="market of the shopper, e.g. TH")],
    release: Annotated[
        Path | None, typer.Option(help="release whose catalogue is searched", show_default="the one being served")
    ] = None,
    user: Annotated[str, typer.Option(help="user id; an unknown one gets cold-start features")] = "anonymous",
    url: Annotated[
        str | None, typer.Option(help="where the service listens", show_default="what serve started")
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, max=1000, help="how many items to retrieve")] = 50,
    top: Annotated[int, typer.Option(min=1, help="how many to print")] = 10,
) -> None:
    """Retrieve candidates, ask the running service and print the ranked page."""
    from rich.console import Console
    from rich.measure import Measurement

    from pipelines.cli.page import ranked_page
    from serving import client
    from serving.retrieval import retrieve

    found = retrieve(release or Path(running()["release"]), market, text, candidates)
    if not found:
        raise BadInput(f"no item of market {market} matches {text!r}; try other words")
    items = {item.item_id: item for item in found}
    page = client.search(url or running()["url"], market=market, user_id=user, query=text, item_ids=list(items))
    table, console = ranked_page(f"{market}: {text}", page[:top], items), Console()
    if not console.is_terminal:  # what reads it has no width: nothing is cut
        console.width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.print(table)


def score(
    source: Annotated[Path, typer.Option("--in", help="pairs: market, query, title (.parquet, .csv, .csv.gz)")],
    out: Annotated[Path, typer.Option("--out", help="target Parquet file")],
    release: Annotated[
        Path | None, typer.Option(help="a release folder: its ONNX experts, on this machine's CPU")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="instead: a trained relevance model's folder, for a GPU")] = None,
    experts: Annotated[Path | None, typer.Option(help="and the folder of the experts it was trained with")] = None,
    precision: Annotated[
        Literal["bfloat16", "float8"] | None, typer.Option(help="of a model's matrix products", show_default="bfloat16")
    ] = None,
) -> None:
    """Score the relevance of many (market, query, title) pairs offline: a release on a CPU, or a model on a GPU."""
    from components.release.onnx_scoring import ReleaseScorer
    from components.relevance.scoring.files import SHARD_ROWS, Scorer, score_file

    scorer: Scorer
    rows_at_once = SHARD_ROWS
    if release and not (model or experts or precision):
        scorer = ReleaseScorer(release)
    elif model and experts and not release:
        from components.relevance.scoring import packed as packed_scoring

        scorer = packed_scoring.PackedScorer(model, experts, precision or "bfloat16")
        rows_at_once = packed_scoring.SHARD_ROWS
    else:
        raise BadInput("name either --release, or --model and --experts (and perhaps --precision)")
    rows = score_file(scorer, source, out, rows_at_once)
    typer.echo(f"wrote {rows} scores to {out}")
