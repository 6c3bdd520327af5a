"""A stand-in for `python:3.11-slim`, made from Debian packages: no image registry is needed.

Debian 12's Python is 3.11 too. The stand-in carries what pip needs to work as it does on this machine: its settings,
the certificates it trusts and, of the wheels it is told to look for, those that constraints.txt pins.
"""

import ast
import hashlib
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGES = "python3,python3-pip,python3-venv,libpython3.11,ca-certificates"
_SUITE = "bookworm"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_WHEELS = "/usr/local/share/wheels"
_PASSED_ON = ("index-url", "extra-index-url", "trusted-host", "default-timeout", "retries")


def make_base(target: Path, constraints: Path) -> list[str]:
    """Write the stand-in's root file system to `target` (a tar file).

    Returns:
        `docker import --change` instructions: its environment, and a label with its digest.
    """
    settings = pip_settings()
    hooks = [
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
        'ln -s python3 "$1"/usr/bin/python',
        f'mkdir -p "$1"{_WHEELS}',
        f"upload {shlex.quote(str(_certificates(settings)))} {_CERTIFICATES}",
    ]
    wheels = pinned_wheels(settings, constraints)
    if wheels:
        hooks.append(f"copy-in {shlex.join(map(str, wheels))} {_WHEELS}")
    made = subprocess.run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--include={_PACKAGES}",
            *(f"--customize-hook={hook}" for hook in hooks),
            _SUITE,
            str(target),
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if made.returncode != 0:
        raise RuntimeError(f"mmdebstrap failed:\n{made.stderr[-4000:]}")
    return [*_environment(settings), f"LABEL archipelago.base={base_digest(constraints)}"]


def base_digest(constraints: Path) -> str:
    """Names what a stand-in would be made of now: this recipe, pip's settings, the certificates, the wheels."""
    settings = pip_settings()
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update("\n".join(_environment(settings)).encode())
    digest.update(_certificates(settings).read_bytes())
    for wheel in pinned_wheels(settings, constraints):
        digest.update(f"{wheel.name} {wheel.stat().st_size}\n".encode())
    return digest.hexdigest()


def pip_settings() -> dict[str, str]:
    """What pip is set to on this machine, by its files and its environment: option -> value."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    # Lines read `global.find-links='/some/folder'` or, which outweighs it, `:env:.find-links='/some/folder'`.
    lines = sorted(listed.splitlines(), key=lambda line: line.startswith(":env:"))
    pairs = (line.partition("=") for line in lines)
    return {key.rpartition(".")[2]: str(ast.literal_eval(value)) for key, _, value in pairs}


def pinned_wheels(settings: Mapping[str, str], constraints: Path) -> list[Path]:
    """Wheels in pip's find-links folders that `constraints` pins, whatever their local version ("+cpu")."""
    pins = {
        (_canonical(name), version)
        for name, _, version in (line.partition("==") for line in constraints.read_text().split())
    }
    folders = [Path(entry) for entry in settings.get("find-links", "").split() if Path(entry).is_dir()]
    wheels = [wheel for folder in folders for wheel in sorted(folder.glob("*.whl"))]
    return [wheel for wheel in wheels if _pin(wheel) in pins]


def _environment(settings: Mapping[str, str]) -> list[str]:
    values = {"PIP_CERT": _CERTIFICATES, "SSL_CERT_FILE": _CERTIFICATES, "PIP_FIND_LINKS": _WHEELS}
    for option in _PASSED_ON:
        # A folder of this machine means nothing in the image.
        kept = [entry for entry in settings.get(option, "").split() if not entry.startswith("file:")]
        if kept:
            values[f"PIP_{option.upper().replace('-', '_')}"] = " ".join(kept)
    return [f'ENV {name}="{value}"' for name, value in sorted(values.items())]


def _certificates(settings: Mapping[str, str]) -> Path:
    return Path(settings.get("cert", _CERTIFICATES))


def _pin(wheel: Path) -> tuple[str, str]:
    name, version, *_ = wheel.stem.split("-")
    return _canonical(name), version.partition("+")[0]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
