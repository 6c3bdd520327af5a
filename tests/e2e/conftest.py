"""One simulated run of the tiny profile that the end-to-end tests share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts.errors import BadInput
from serving.local.triton_server import triton_environment
from tests.built_once import built_once

Archipelago = Callable[..., str]


@pytest.fixture(scope="session")
def archipelago() -> Archipelago:
    """Run the command and return its stdout and stderr; fails unless it exits with `code`."""

    def call(*arguments: object, code: int = 0, timeout: int = 500) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("archipelago")), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert done.returncode == code, done.stdout[-6000:]
        return done.stdout

    return call


@pytest.fixture(scope="session")
def simulated(archipelago: Archipelago, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the simulator."""
    try:
        triton_environment()
    except BadInput as absent:
        pytest.skip(str(absent))
    return built_once(tmp_path_factory, "simulated", lambda out: archipelago("run", "--profile", "tiny", "--out", out))
