"""Commands around two releases that one `archipelago serve` serves: what is served, a step forward, back."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import running

Share = Annotated[float, typer.Option(min=0, max=100, help="of users whom the canary serves from now on")]


def status() -> None:
    """Show what is served on this machine: its address, and each release's share of users and readiness."""
    import httpx

    note = running()
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


def promote(percent: Share = 100) -> None:
    """Give the canary more users: all of them, or a share; those it had stay with it."""
    _give(percent)


def rollback() -> None:
    """Take all users back from the canary, to the release beside which it is served."""
    _give(0)


def _give(percent: float) -> None:
    from serving.local.traffic import read_percent, write_percent

    state = Path(running()["state"])
    before = read_percent(state)
    write_percent(state, percent)
    typer.echo(f"the canary serves {percent:g} % of users, {before:g} % before")
