"""The `archipelago` command."""

from typing import Annotated

import typer

from components.contracts.tools import log
from components.contracts.tools.exits import errors_in_one_line
from pipelines.cli import cluster, data, serve, traffic, train

app = typer.Typer(
    name="archipelago",
    help="Multilingual e-commerce search, from logs to a ranked page.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(data.ingest)
app.command()(data.check)
app.command()(data.simulate)
app.command()(train.run)
app.command("compile")(train.compile_)
app.command()(cluster.submit)
app.add_typer(cluster.schedules, name="schedules")
app.command()(cluster.register)
app.command()(cluster.releases)
app.command()(serve.sign)
app.command()(serve.serve)
app.command()(traffic.deploy)
app.command()(traffic.status)
app.command()(traffic.promote)
app.command()(traffic.rollback)
app.command()(serve.query)
app.command()(serve.score)
app.command()(data.drift)
app.command()(data.monitor)


@app.callback()
def _configure(
    log_level: Annotated[str, typer.Option(envvar="ARCHIPELAGO_LOG", help="DEBUG, INFO, WARNING or ERROR")] = "INFO",
) -> None:
    log.configure(log_level.upper())


def main() -> None:
    """Run the command; errors a user can act on are one line and an exit code, without a traceback.

    Exit codes: 0 done, 1 crash, 2 bad input, 3 drift found, 4 gate refused.
    """
    with errors_in_one_line():
        app()
