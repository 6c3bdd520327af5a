"""Secrets for pipeline runs: those that profiles and pages let steps read are made, under the same keys."""

import re
from pathlib import Path

from pipelines.profile import load_profile, profile_names
from tests.manifests.rendering import MANIFESTS, render
from tests.manifests.schemas import Schemas

PAGE = MANIFESTS.parent / "pipelines" / "README.md"


def read_by_steps(page: Path) -> set[tuple[str, str]]:
    """Secret and key of every one that a built-in profile names, or the page."""
    asked = set(re.findall(r"secret: ([\w.-]+), key: ([\w.-]+)", " ".join(page.read_text(encoding="utf-8").split())))
    for resources in (load_profile(name).resources for name in profile_names()):
        for step in (*resources.roles.values(), *resources.steps.values()):
            asked |= {(secret.secret, secret.key) for secret in step.secrets}
    return asked


def test_what_steps_read_is_made_where_they_run(schemas: Schemas) -> None:
    made = render("runs")
    keys = {(m["spec"]["target"]["name"], data["secretKey"]) for m in made for data in m["spec"]["data"]}
    asked = read_by_steps(PAGE)
    assert len(asked) >= 5
    assert keys == asked
    assert {m["kind"] for m in made} == {"ExternalSecret"}
    assert len({m["metadata"]["namespace"] for m in made}) == 1
    assert [problem for m in made for problem in schemas.problems(m)] == []
