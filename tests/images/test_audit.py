"""The gate on known vulnerabilities: what it lets pass, for how long, and that silence is no pass."""

import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.images.audit import ALLOWED, AUDITED, Allowed, problems, read_allowed
from tests.images.dockerfile import ROLES, installed_locks

TODAY = datetime.date(2026, 11, 26)
ENTRY = Allowed(
    id="GHSA-aaaa-bbbb-cccc", package="Some_Package", reason="that code is reached by no route of ours", until=TODAY
)
CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}


def vulnerable(name: str = "some-package", identity: str = "GHSA-aaaa-bbbb-cccc", alias: str = "CVE-2026-1"):
    vulnerability = {"id": identity, "aliases": [alias], "fix_versions": ["1.1"], "description": ""}
    return {"name": name, "version": "1.0", "vulns": [vulnerability]}


def test_a_known_vulnerability_stops_a_release() -> None:
    assert problems([CLEAN], [], TODAY) == []
    assert problems([CLEAN, vulnerable()], [], TODAY) == ["some-package 1.0: GHSA-aaaa-bbbb-cccc (fixed in: 1.1)"]


def test_an_allowed_one_passes_in_its_own_package_by_any_of_its_names() -> None:
    assert problems([vulnerable()], [ENTRY], TODAY) == []
    assert problems([vulnerable(identity="PYSEC-2026-1", alias="GHSA-aaaa-bbbb-cccc")], [ENTRY], TODAY) == []
    assert len(problems([vulnerable(name="another")], [ENTRY], TODAY)) == 2  # it is found, and the entry is of no use


def test_an_allowance_ends() -> None:
    after = TODAY + datetime.timedelta(days=1)
    assert problems([vulnerable()], [ENTRY], after) == [
        "Some_Package: the allowance of GHSA-aaaa-bbbb-cccc ended on 2026-11-26"
    ]
    early = TODAY - datetime.timedelta(days=91)
    assert "longer than 90 days" in problems([vulnerable()], [ENTRY], early)[0]


def test_what_could_not_be_audited_stops_a_release() -> None:
    skipped = {"name": "numpy", "skip_reason": "not found"}
    assert problems([skipped], [], TODAY) == ["numpy: not audited (not found)"]


@pytest.mark.parametrize(
    "line",
    [
        "{id: GHSA-a-b-c, package: p, reason: '', until: 2026-12-01}",
        "{id: GHSA-a-b-c, package: p, reason: it is not reached by any route}",
        "{id: '*', package: p, reason: it is not reached by any route, until: 2026-12-01}",
        "{id: GHSA-a-b-c, package: p, reason: it is not reached by any route, until: soon}",
    ],
)
def test_an_entry_without_reason_day_or_name_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "allowed.yaml"
    path.write_text(f"- {line}\n")
    with pytest.raises(ValidationError):
        read_allowed(path)


def test_the_list_is_readable_and_every_lock_that_images_install_is_audited() -> None:
    read_allowed(ALLOWED)
    audited = {path.stem for path in AUDITED}
    assert {lock for role in ROLES for lock in installed_locks(role)} <= audited
    assert {"triton", "triton-gpu"} <= audited
