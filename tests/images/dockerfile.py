"""components/Dockerfile and components/locks as data: arguments, stages, and the locks that each image installs."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "components" / "Dockerfile"
LOCKS = REPOSITORY / "components" / "locks"
ROLES = ("data", "train", "monitor", "serve")
_TEXT = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")


def arguments() -> dict[str, str]:
    """Build arguments that have a default -> the default."""
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", _TEXT, re.MULTILINE))


def installed_locks(role: str, **given: str) -> list[str]:
    """Names of the locks that a role's image installs, in order, with build arguments as given or else by default."""
    stages: dict[str, tuple[str, str]] = {}
    for stage in re.split(r"^(?=FROM )", _TEXT, flags=re.MULTILINE)[1:]:
        head, _, body = stage.partition("\n")
        _, parent, _, name = head.split()
        stages[name] = (parent, body)
    found: list[str] = []
    while role in stages:
        role, body = stages[role]
        found = [
            name for line in re.findall(r"^RUN install-locked (.+)$", body, re.MULTILINE) for name in line.split()
        ] + found
    values = arguments() | given
    named = [re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], name) for name in found]
    return [name for name in named if name]


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Canonical name of every distribution of a lock -> its version, and the hashes of its files."""
    found: dict[str, tuple[str, list[str]]] = {}
    lines = (LOCKS / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            pin, *hashes = line.split(" --hash=")
            requirement = Requirement(pin.strip())
            (version,) = requirement.specifier
            assert version.operator == "==", f"{name}.txt: {pin} is not one version"
            found[canonicalize_name(requirement.name)] = (version.version, [digest.strip() for digest in hashes])
    return found


def versions(role: str, **given: str) -> dict[str, str]:
    """Canonical name -> version of everything that a role's image holds, but for the project itself."""
    locks = installed_locks(role, **given)
    return {name: version for lock in locks for name, (version, _) in locked(lock).items()}
