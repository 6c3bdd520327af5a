"""A stand-in for NVIDIA's Triton image: the server from its wheel, on the stand-in for Python's image.

`tritonserver` is on the path and the backends lie where the server looks for them, with the laptop's onnxruntime
backend in place of NVIDIA's. What `triton` adds to NVIDIA's image is then added to this one, by the same Dockerfile.
"""

import shutil
from pathlib import Path

from serving.local.triton_server import prepare_backends, server_folder

_PACKAGES = ("flatbuffers", "google", "numpy", "numpy.libs", "onnxruntime", "packaging")
_DOCKERFILE = """
FROM {base}
COPY tritonserver /opt/tritonserver
COPY packages /usr/local/lib/python3.11/dist-packages
ENV PATH=/opt/tritonserver/bin:$PATH LD_LIBRARY_PATH=/opt/tritonserver/lib
"""


def write_context(venv: Path, base: str, folder: Path) -> None:
    """Fill `folder` with a Dockerfile and what it copies, from the environment that holds Triton's wheel."""
    server = server_folder(venv)
    assert server is not None
    site = server.parents[1]
    target = folder / "tritonserver"
    (target / "bin").mkdir(parents=True)
    shutil.copy2(server / "bin" / "tritonserver", target / "bin")
    shutil.copytree(site / "nvidia_pytriton.libs", target / "lib")
    shutil.copytree(prepare_backends(server, "python3.11", folder / "backends"), target / "backends")
    shutil.rmtree(folder / "backends")
    for name in _PACKAGES:
        shutil.copytree(site / name, folder / "packages" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "Dockerfile").write_text(_DOCKERFILE.format(base=base), encoding="utf-8")
