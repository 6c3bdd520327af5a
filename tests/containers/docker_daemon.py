"""A Docker daemon of the tests' own: its data, socket and process end with the tests."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STARTED_WITHIN = 60.0
_STOPPED_WITHIN = 30.0


def missing_parts() -> list[str]:
    """What this machine lacks to run a daemon and to make a base image; empty when it can."""
    missing = [name for name in ("docker", "dockerd", "mmdebstrap") if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root")
    return missing


def docker(*arguments: str | Path, host: str, timeout: float = 900) -> str:
    """Run a docker command against `host` and return its output; CalledProcessError carries stderr."""
    # The classic builder: Debian's docker.io comes without buildx.
    environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        ["docker", *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=timeout
    )
    if done.returncode != 0:
        message = f"docker {' '.join(map(str, arguments))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        raise subprocess.CalledProcessError(done.returncode, message, done.stdout, done.stderr)
    return done.stdout


@contextmanager
def running_daemon(data_root: Path) -> Iterator[str]:
    """Start dockerd on `data_root`, yield its DOCKER_HOST, and end it.

    Containers get no network of their own (`--bridge=none`); builds and runs may ask for the host's.
    """
    data_root.mkdir(parents=True, exist_ok=True)
    # A socket's path may have 107 characters, so it lies in a short folder.
    state = Path(tempfile.mkdtemp(prefix="dockerd-"))
    host = f"unix://{state}/docker.sock"
    log_path = state / "dockerd.log"
    command = [
        "dockerd",
        f"--data-root={data_root}",
        f"--exec-root={state}/exec",
        f"--pidfile={state}/docker.pid",
        f"--host={host}",
        "--storage-driver=overlay2",
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
    ]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(process, host, log_path)
        yield host
    finally:
        process.terminate()
        try:
            process.wait(_STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for mounted in (state / "exec" / "netns").glob("*"):  # dockerd leaves its network namespaces mounted
            subprocess.run(["umount", mounted], check=False, capture_output=True)
        shutil.rmtree(state, ignore_errors=True)


def _wait_until_ready(process: "subprocess.Popen[bytes]", host: str, log_path: Path) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            docker("version", host=host, timeout=10)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"dockerd did not come up:\n{log_path.read_text(errors='replace')[-4000:]}")
