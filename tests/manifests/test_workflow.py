"""The workflow for a kind cluster names what is there: it cannot be run here, so that it cannot rot unseen."""

import re
import shlex
from pathlib import Path

import yaml

from tests.manifests.controller import made_by_kserve
from tests.manifests.rendering import render
from tests.test_pages import exists

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "kind.yaml").read_text(encoding="utf-8"))


def commands() -> list[str]:
    """Each shell line of the workflow, continued ones as one."""
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    text = "\n".join(step["run"] for step in steps if "run" in step).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_commands_and_folders_are_there() -> None:
    ours = [line for line in commands() if line.startswith(("make ", ".venv/bin/archipelago "))]
    assert len(ours) == 5
    assert [line for line in ours if not exists(shlex.split(line))] == []
    for path in re.findall(r"apply -k (\S+)", "\n".join(commands())):
        assert (ROOT / path / "kustomization.yaml").is_file()


def test_images_and_services_are_those_of_the_overlay() -> None:
    manifests = render("overlays/dev")
    made = [*manifests, *made_by_kserve(manifests)]
    services = {m["metadata"]["name"] for m in made if m["kind"] == "Service"}
    text = "\n".join(commands())
    assert set(re.findall(r"service/([\w-]+)", text)) <= services
    used = {c["image"] for m in made if m["kind"] == "Deployment" for c in m["spec"]["template"]["spec"]["containers"]}
    roles = re.search(r"for role in ([\w ]+);", text)
    assert roles is not None
    assert {f"archipelago-{role}:0.1.0" for role in roles[1].split()} == used
