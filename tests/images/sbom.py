"""`make sbom`: what each role's image installs, as a CycloneDX document with the files' hashes, from the locks.

    python -m tests.images.sbom FOLDER

An image holds what its locks name and nothing else (tests/containers), so its Python parts need not be searched for.
"""

import subprocess
import sys
from pathlib import Path

from tests.images.dockerfile import REPOSITORY, ROLES, installed_locks, locked


def write_sbom(role: str, out: Path) -> None:
    """Write the CycloneDX 1.6 JSON of a role, its PyTorch the one with CUDA as by default; the same each time."""
    held = {name: pin for lock in installed_locks(role) for name, pin in locked(lock).items()}
    lines = [
        f"{name}=={version}" + "".join(f" --hash={digest}" for digest in hashes)
        for name, (version, hashes) in sorted(held.items())
    ]
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", REPOSITORY / "pyproject.toml"]
    command += ["--sv=1.6", "--of=JSON", "--output-reproducible", "--validate", "-o", out, "-"]
    subprocess.run(command, input="\n".join(lines), text=True, check=True)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        write_sbom(role, folder / f"{role}.cdx.json")
        print(folder / f"{role}.cdx.json")


if __name__ == "__main__":
    main()
