"""`make audit`: the locks' known vulnerabilities, by pip-audit, against a dated and reasoned list of those allowed.

A distribution that the vulnerability service does not know counts as a finding: silence is no clean bill.
"""

import datetime
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter

from tests.images.dockerfile import LOCKS

ALLOWED = LOCKS / "allowed-vulnerabilities.yaml"
LONGEST = datetime.timedelta(days=90)
# Not torch-cpu: no service knows a local version, and torch-cuda holds the same release.
AUDITED = [path for path in sorted(LOCKS.glob("*.txt")) if path.stem != "torch-cpu"]


class Allowed(BaseModel):
    """One vulnerability that images may be released with, why, and until when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^[A-Z]+-[\w-]+$")]
    package: str
    reason: Annotated[str, StringConstraints(min_length=20)]
    until: datetime.date


def read_allowed(path: Path) -> list[Allowed]:
    return TypeAdapter(list[Allowed]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))


def problems(findings: Iterable[Mapping[str, Any]], allowed: Sequence[Allowed], today: datetime.date) -> list[str]:
    """What keeps images from being released.

    Args:
        findings: `dependencies` of pip-audit's JSON reports.
        allowed: the list.
        today: entries hold to the end of their day.
    """
    found: set[str] = set()
    used: set[Allowed] = set()
    for dependency in findings:
        name = canonicalize_name(dependency["name"])
        if "skip_reason" in dependency:
            found.add(f"{name}: not audited ({dependency['skip_reason']})")
        for vulnerability in dependency.get("vulns", []):
            ids = {vulnerability["id"], *vulnerability.get("aliases", [])}
            entries = [a for a in allowed if a.id in ids and canonicalize_name(a.package) == name]
            used.update(entries)
            if not entries:
                fixed = ", ".join(vulnerability["fix_versions"]) or "none yet"
                found.add(f"{name} {dependency['version']}: {vulnerability['id']} (fixed in: {fixed})")
    for entry in allowed:
        if entry.until < today:
            found.add(f"{entry.package}: the allowance of {entry.id} ended on {entry.until}")
        elif entry.until > today + LONGEST:
            found.add(f"{entry.package}: the allowance of {entry.id} is longer than {LONGEST.days} days")
        if entry not in used:
            found.add(f"{entry.package}: {entry.id} is allowed and no longer found; take it off the list")
    return sorted(found)


def audit(lock: Path) -> list[dict[str, Any]]:
    """pip-audit's findings of a lock; CalledProcessError where it could not ask."""
    command = ["pip-audit", "--requirement", lock, "--require-hashes", "--disable-pip", "--format=json"]
    done = subprocess.run([sys.executable, "-m", *_module(command)], capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: there are vulnerabilities
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    try:
        return json.loads(done.stdout)["dependencies"]
    except ValueError as error:
        raise RuntimeError(f"{lock.name}: pip-audit gave no report: {done.stderr.strip()[-1000:]}") from error


def _module(command: Sequence[str | Path]) -> list[str]:
    return ["pip_audit", *map(str, command[1:])]


def main() -> None:
    findings = [dependency for lock in AUDITED for dependency in audit(lock)]
    found = problems(findings, read_allowed(ALLOWED), datetime.datetime.now(tz=datetime.UTC).date())
    print(*found or [f"{len(findings)} entries of {len(AUDITED)} locks: no vulnerability but those allowed"], sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
