"""The command: help that reads well, and errors that are one line and an exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

ARCHIPELAGO = str(Path(sys.executable).with_name("archipelago"))


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ARCHIPELAGO, *arguments], capture_output=True, text=True, timeout=120)


def test_help_names_every_command() -> None:
    said = call("--help")
    assert said.returncode == 0
    for command in (
        "ingest",
        "run",
        "compile",
        "serve",
        "query",
        "score",
        "drift",
        "deploy",
        "status",
        "promote",
        "rollback",
    ):
        assert command in said.stdout


@pytest.mark.parametrize(
    "command", ["ingest", "run", "compile", "serve", "query", "score", "drift", "deploy", "status"]
)
def test_every_command_explains_itself(command: str) -> None:
    said = call(command, "--help")
    assert said.returncode == 0 and "Usage" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--profile", "nowhere"), "nowhere"),
        (("run", "--data", "/no/such/folder"), "/no/such/folder"),
        (("run", "--judgments", "/no/such/file.csv"), "/no/such/file.csv"),
        (("run", "--as-of", "yesterday"), "yesterday"),
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
