"""A real `tritonserver` on a machine without its container: the one inside the nvidia-pytriton wheel.

The wheel lives in a virtual environment of its own (numpy 1, see triton-requirements.txt). Python models and the
stand-in for the onnxruntime backend run in that environment's interpreter.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import atomic_directory
from serving.local.processes import LOOPBACK, Child

_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class TritonPorts:
    """Loopback ports of one server."""

    http: int
    grpc: int
    metrics: int


def triton_environment() -> Path:
    """The virtual environment that holds Triton: ARCHIPELAGO_TRITON_VENV, or `.venv-triton` of the project.

    Raises:
        BadInput: there is none.
    """
    venv = Path(os.environ.get("ARCHIPELAGO_TRITON_VENV") or _PROJECT / ".venv-triton")
    if not server_folder(venv):
        raise BadInput(
            f"{venv}: no Triton server there; run `make setup`, or let ARCHIPELAGO_TRITON_VENV name a virtual "
            "environment with the packages of serving/triton-requirements.txt"
        )
    return venv.absolute()


def start_triton(repository: Path, state: Path, ports: TritonPorts) -> Child:
    """Start Triton on a model repository, CPU configurations; logs and backends go into `state`. Does not wait."""
    venv = triton_environment()
    server = server_folder(venv)
    assert server is not None
    packages = server.parents[1]
    library_folder = subprocess.run(
        [venv / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    shared_memory = f"archipelago_{os.getpid()}_{ports.http}_"
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={_mirror(repository.resolve(), state / 'repository')}",
        f"--backend-directory={prepare_backends(server, packages.parent.name, state / 'backends')}",
        f"--http-address={LOOPBACK}",
        f"--http-port={ports.http}",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={LOOPBACK}",
        f"--metrics-port={ports.metrics}",
        "--disable-auto-complete-config",
        "--model-config-name=cpu",
        # Models can be unloaded and loaded, which is how a dead one comes back; all are loaded at the start.
        "--model-control-mode=explicit",
        "--load-model=*",
        *(f"--backend-config={name},shm-region-prefix-name={shared_memory}" for name in ("python", "onnxruntime")),
        "--exit-timeout-secs=5",
    ]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env["PATH"] = f"{venv / 'bin'}:{env.get('PATH', '')}"
    env["LD_LIBRARY_PATH"] = f"{packages / 'nvidia_pytriton.libs'}:{library_folder}"
    env.setdefault("ARCHIPELAGO_ONNX_THREADS", str(len(os.sched_getaffinity(0))))
    return Child("tritonserver", command, state / "logs" / "triton.log", env, state, shared_memory=shared_memory)


def server_folder(venv: Path) -> Path | None:
    """Where the wheel keeps Triton in a virtual environment; None where there is none."""
    return next(iter(venv.glob("lib/python3.*/site-packages/pytriton/tritonserver")), None)


def _mirror(repository: Path, target: Path) -> Path:
    """A copy of the repository that Triton may write into: directories and Python sources anew, all else linked.

    The Python backend leaves bytecode beside a model's source, and its interpreter heeds no PYTHON* variable; a
    release's name is the digest of its content, so nothing may be added to it.
    """

    def copy(source: str, place: str) -> None:
        if source.endswith(".py"):
            shutil.copyfile(source, place)
        else:
            Path(place).symlink_to(source)

    with atomic_directory(target) as root:
        shutil.copytree(repository, root, copy_function=copy, dirs_exist_ok=True)
    return target.resolve()


def prepare_backends(server: Path, python: str, target: Path) -> Path:
    """The backend directory: the wheel's Python backend with the stub of `python` ("python3.11"), and our stand-in.

    Copies, because Triton refuses backends whose files are links out of the directory.
    """
    with atomic_directory(target) as root:
        shutil.copytree(server / "backends" / "python", root / "python")
        stub = server / "python_backend_stubs" / python.removeprefix("python") / "triton_python_backend_stub"
        shutil.copy(stub, root / "python")
        (root / "onnxruntime").mkdir()
        source = resources.files("serving") / "triton" / "backends" / "onnxruntime" / "model.py"
        (root / "onnxruntime" / "model.py").write_bytes(source.read_bytes())
    return target.resolve()
