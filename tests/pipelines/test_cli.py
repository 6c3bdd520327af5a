"""The command: help that reads well, and errors that are one line and an exit code."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipelines.cli.main import app
from tests.page_tables import commands_of

ARCHIPELAGO = str(Path(sys.executable).with_name("archipelago"))


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ARCHIPELAGO, *arguments], capture_output=True, text=True, timeout=120)


def test_help_names_every_command() -> None:
    said = call("--help")
    assert said.returncode == 0
    assert [name for name in get_command(app).commands if f" {name} " not in said.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--profile", "nowhere"), "nowhere"),
        (("run", "--data", "/no/such/folder"), "/no/such/folder"),
        (("run", "--judgments", "/no/such/file.csv"), "/no/such/file.csv"),
        (("run", "--as-of", "yesterday"), "yesterday"),
        (("simulate", "--out", "x", "--profile", "nowhere"), "nowhere"),
        (("simulate", "--out", "x", "--scale", "0.001"), "0.01"),
        (("ingest", "--format", "unheard-of", "--in", "x", "--out", "y"), "unheard-of"),
        (("compile", "--out", "x.yaml", "--image", "train"), "ROLE=IMAGE"),
        (("serve", "/no/such/release"), "/no/such/release"),
        (("query", "--market", "TH", "--release", "/no/such/release", "x"), "/no/such/release"),
        (("score", "--release", "/no/such/release", "--in", "x.csv", "--out", "y.parquet"), "/no/such/release"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_line_and_exit_2(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    said = subprocess.run([ARCHIPELAGO, *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert said.returncode == 2, said.stderr
    assert says in said.stderr
    assert "Traceback" not in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_in_use_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine")
    said = call("run", "--out", str(tmp_path))
    assert said.returncode == 2 and "not empty" in said.stderr
    assert (tmp_path / "keep").read_text() == "mine"


@pytest.mark.parametrize(("name", "command"), commands_of(get_command(app)), ids=str)
def test_help_shows_what_holds_where_nothing_is_named(name: str, command: Any) -> None:
    """Brackets in a help text are markup, which is not shown."""
    said = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "400"})
    assert said.exit_code == 0 and "Usage" in said.output
    for parameter in command.params:
        assert "[" not in (getattr(parameter, "help", None) or "")
        if isinstance(getattr(parameter, "show_default", None), str):
            assert f"[default: ({parameter.show_default})]" in said.output
