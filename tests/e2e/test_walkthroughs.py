"""Walkthroughs of the pages, run as they stand: a section's shell and Python blocks, in order, in an empty folder."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from components.contracts.errors import BadInput
from serving.local.triton_server import triton_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]
ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(page: str, heading: str) -> str:
    """The blocks between a heading of the page and the next one of its level, as one shell script."""
    text = (ROOT / page).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{page}: no section {heading}"
    blocks = _BLOCK.findall(rest.partition("\n## ")[0])
    assert blocks
    return "\n".join(f"python - <<'BLOCK'\n{code}BLOCK" if kind == "python" else code for kind, code in blocks)


def walk(page: str, heading: str, folder: Path) -> str:
    """What a section's blocks print when they are run in a folder; fails where one of them fails.

    What a block started in the background ends with the script, however that ends.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        # What is being served is noted in the cache: other tests serve at the same time.
        "ARCHIPELAGO_CACHE": str(folder / "cache"),
        "COLUMNS": "160",
    }
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", f"trap 'jobs -p | xargs -r kill' EXIT\n{script(page, heading)}"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=900)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 0, said[-6000:]
    return said


@pytest.fixture(scope="module", autouse=True)
def _triton() -> None:
    try:
        triton_environment()
    except BadInput as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def own_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the walkthrough from CSV to a ranked page was walked, and what it printed."""
    folder = tmp_path_factory.mktemp("own_log")
    return folder, walk("pipelines/README.md", "Your own log, from CSV to a ranked page", folder)


def test_your_own_log_from_csv_to_a_ranked_page(own_log: tuple[Path, str]) -> None:
    folder, said = own_log
    assert "ID: kaos hitam" in said and "p(click)" in said
    summary = json.loads((folder / "my_run" / "summary.json").read_text())
    assert summary["simulated"] is False
    assert summary["serving"]["max_abs_diff"] < 1e-4


def test_the_examples_of_serving_are_answered(own_log: tuple[Path, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    said = walk("serving/README.md", "Examples", own_log[0])
    assert '"relevance_source"' in said
    # The best item stands right behind curl's answer, which ends without a line break.
    assert re.search(r"TH-12 0\.\d{3} (stored|computed|default)$", said, re.MULTILINE)
    assert re.search(r"^\[[01]\.\d*\] \[\[\d", said, re.MULTILINE)
    assert re.search(r"^relevance \[[01]\.\d+", said, re.MULTILINE)


def test_bring_your_own_expert(tmp_path: Path) -> None:
    walk("components/relevance/README.md", "Walkthrough: bring your own expert", tmp_path)
    (release,) = (tmp_path / "expert_run" / "releases").iterdir()
    card = (release / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert re.search(r"^\| mine \|.* my_expert, tuned on the judgments \|.* apache-2.0 \|", card, re.MULTILINE)
    scores = pd.read_parquet(tmp_path / "scores.parquet")["relevance"]
    assert len(scores) == 180 and scores.between(0, 1).all()
