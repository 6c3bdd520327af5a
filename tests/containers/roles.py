"""The images that are built: one per role, on one base."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "components" / "Dockerfile"
ROLES = ("data", "train", "monitor", "serve")
# A stand-in has no registry's digest, and this machine's PyTorch is the build without CUDA.
BASE = "archipelago-stand-in:latest"
BUILD = (
    *("--network", "host", "--file", DOCKERFILE),
    *("--build-arg", f"BASE={BASE}", "--build-arg", "UNPINNED=allowed", "--build-arg", "TORCH=cpu"),
)
