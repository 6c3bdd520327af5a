"""A real Triton with a release's GPU models on a machine without a GPU: their instances are of the kind CPU.

The models need torch beside numpy 1: an environment whose search path names Triton's packages before the project's.
"""

import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from serving.local.processes import Child, free_ports
from serving.local.triton_server import TritonPorts, triton_environment

STAND_IN = Path(__file__).resolve().parents[2] / "serving" / "triton" / "backends" / "onnxruntime"
DATATYPES = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}


@contextmanager
def serve_packed(repository: Path, models: Sequence[str], root: Path, **parameters: str) -> Iterator[TritonPorts]:
    """Triton's ports while it serves these models of a repository by their GPU configurations, parameters replaced."""
    packages = next(triton_environment().glob("lib/python3.*/site-packages"))
    server = packages / "pytriton" / "tritonserver"
    python = packages.parent.name
    shutil.copytree(server / "backends" / "python", root / "backends" / "python")
    stub = server / "python_backend_stubs" / python.removeprefix("python") / "triton_python_backend_stub"
    shutil.copy(stub, root / "backends" / "python")
    shutil.copytree(STAND_IN, root / "backends" / "onnxruntime")
    home = subprocess.run(
        [triton_environment() / "bin" / "python", "-c", "import sys, sysconfig; "
         "print(sys.base_prefix, sysconfig.get_config_var('LIBDIR'))"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    subprocess.run([f"{home[0]}/bin/{python}", "-m", "venv", "--without-pip", root / "venv"], check=True)
    path = f"{packages}\n{sysconfig.get_path('purelib')}\n"
    (root / "venv" / "lib" / python / "site-packages" / "both.pth").write_text(path)
    ports = TritonPorts(*free_ports(3))
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={on_cpu(repository, root / 'repository', parameters)}",
        f"--backend-directory={root / 'backends'}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")),
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=10",
    ]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env["PATH"] = f"{root / 'venv' / 'bin'}:{env.get('PATH', '')}"
    env["LD_LIBRARY_PATH"] = f"{packages / 'nvidia_pytriton.libs'}:{home[1]}"
    child = Child("tritonserver", command, root / "triton.log", env, root)
    try:
        wait_ready(child, f"http://127.0.0.1:{ports.http}")
        yield ports
        child.check()
    finally:
        child.stop()


def on_cpu(repository: Path, target: Path, parameters: Mapping[str, str]) -> Path:
    """A copy of a repository whose GPU configurations ask for no GPU and hold these values of their parameters."""
    shutil.copytree(repository, target)
    for path in target.glob("*/config.pbtxt"):
        text = path.read_text().replace("KIND_GPU", "KIND_CPU")
        for name, value in parameters.items():
            text = re.sub(rf'(key: "{name}"\s+value {{\s+string_value: )"[^"]*"', rf'\1"{value}"', text)
        path.write_text(text)
    return target


def infer(url: str, model: str, inputs: Mapping[str, tuple[str, Sequence[Any]]]) -> dict[str, np.ndarray]:
    """Outputs by name of one request, whose inputs are one row of the model's batch.

    Raises:
        RuntimeError: the server's error.
    """
    tensors = [
        {"name": name, "datatype": datatype, "shape": [1, len(values)], "data": list(values)}
        for name, (datatype, values) in inputs.items()
    ]
    response = httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": tensors}, timeout=120)
    answer = response.json()
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return {
        output["name"]: np.array(output["data"], dtype=DATATYPES[output["datatype"]]).reshape(output["shape"])
        for output in answer["outputs"]
    }


def wait_ready(child: Child, url: str, timeout_s: float = 240) -> None:
    """Wait until a server says that it is ready; it must not end before."""
    deadline = time.monotonic() + timeout_s
    while not _ready(url):
        child.check()
        assert time.monotonic() < deadline, child.tail()
        time.sleep(0.2)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=5).is_success
    except httpx.TransportError:
        return False
