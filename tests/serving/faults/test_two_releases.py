"""Two releases behind one address: users are split and stay where they are, and commands move the share."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from serving import client
from serving.local.traffic import is_canarys, no_canary, read_percent, write_percent
from serving.release import open_release
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import addresses, reseal, seconds_until

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]
USERS = [f"user-{number}" for number in range(40)]


def test_a_share_of_users_that_grows_and_shrinks() -> None:
    users = [f"user-{number}" for number in range(10_000)]
    before: set[str] = set()
    for percent in (0, 1, 10, 50, 100):
        now = {user for user in users if is_canarys(user, percent)}
        assert before <= now
        assert len(now) == pytest.approx(percent * 100, abs=150)
        before = now
    assert before == set(users)


def test_the_share_lies_in_the_state_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no canary"):
        read_percent(tmp_path)
    write_percent(tmp_path, 12.5)
    assert read_percent(tmp_path) == 12.5
    with pytest.raises(BadInput, match="expected 0 to 100"):
        write_percent(tmp_path, 101)
    no_canary(tmp_path)
    with pytest.raises(BadInput, match="no canary"):
        read_percent(tmp_path)


@pytest.fixture(scope="module")
def other(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same release under another name."""
    target = shutil.copytree(tiny.search, tmp_path_factory.mktemp("other") / "release")
    (target / "MODEL_CARD.md").write_text("another one")
    reseal(target)
    return target


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "ARCHIPELAGO_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def served(
    tiny: Tiny, other: Path, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """What `serve` printed: name -> address."""
    state = tmp_path_factory.mktemp("state")
    arguments = ["serve", str(tiny.search), "--canary", str(other), "--canary-percent", "50", "--port", "0"]
    server = subprocess.Popen([*COMMAND, *arguments, "--state", str(state)], stdout=subprocess.PIPE, text=True, env=env)
    yield addresses(server)
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


def command(env: dict[str, str], *arguments: str) -> str:
    ran = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=env, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class Searches:
    """Asks for one page as many users, over either protocol, and tells who answered."""

    def __init__(self, served: dict[str, str], release: Path) -> None:
        self._served = served
        golden = pq.read_table(release / "golden" / "search.parquet").to_pandas()
        rows = golden[golden["request"] == golden["request"].iloc[0]]
        self._texts = {"market": [rows.iloc[0]["market"]], "query": [rows.iloc[0]["query"]]}
        self._texts["item_ids"] = rows["item_id"].tolist()

    def rest(self, user: str, version: str = "") -> str:
        texts = self._texts | {"user_id": [user]}
        tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in texts.items()]
        path = f"/v2/models/search{version and f'/versions/{version}'}/infer"
        answer = httpx.post(f"{self._served['http']}{path}", json={"inputs": tensors}, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_version"])

    def grpc(self, users: list[str]) -> list[str]:
        program = (
            "import json, sys\nimport numpy as np\nfrom tritonclient.grpc import InferenceServerClient, InferInput\n"
            "texts, users, address = json.load(sys.stdin)\n"
            "connected = InferenceServerClient(address)\n"
            "assert connected.is_server_ready()\n"
            "for user in users:\n"
            "    inputs = []\n"
            "    for name, values in (texts | {'user_id': [user]}).items():\n"
            "        tensor = InferInput(name, [len(values)], 'BYTES')\n"
            "        tensor.set_data_from_numpy(np.array([v.encode() for v in values], dtype=object))\n"
            "        inputs.append(tensor)\n"
            "    print(connected.infer('search', inputs).get_response().model_version)\n"
        )
        asked = json.dumps([self._texts, users, self._served["grpc"]])
        ran = subprocess.run([sys.executable, "-c", program], input=asked, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()


@pytest.mark.slow
def test_users_are_split_moved_and_taken_back(
    served: dict[str, str], tiny: Tiny, other: Path, env: dict[str, str]
) -> None:
    old, new = (open_release(release).name for release in (tiny.search, other))
    searches = Searches(served, tiny.search)
    expected = {user: new if is_canarys(user, 50) else old for user in USERS}
    assert set(expected.values()) == {old, new}
    assert {user: searches.rest(user) for user in USERS} == expected
    assert dict(zip(USERS, searches.grpc(USERS), strict=True)) == expected
    assert [searches.rest("anybody", version) for version in (old, new)] == [old, new]
    assert f"release {new}  50 % of users  ready" in command(env, "status")

    command(env, "promote")
    assert {searches.rest(user) for user in USERS} == {new}
    assert f"release {old}  0 % of users" in command(env, "status")
    assert "0 % of users, 100 % before" in command(env, "rollback")
    assert {searches.rest(user) for user in USERS} == {old}
    assert searches.grpc(USERS[:3]) == [old] * 3

    relevance, _ = client.relevance(served["http"], ["TH"], ["เคส"], ["เคสโทรศัพท์"])
    assert relevance.shape == (1,)
    assert httpx.post(f"{served['http']}/v2/models/search/infer", content=b"{").status_code == 400
    assert httpx.get(f"{served['http']}/nowhere").status_code == 404
    seconds_until(lambda: httpx.get(f"{served['http']}/v2/health/ready").is_success, 10)
    item = searches._texts["item_ids"][0]
    events = [{"type": "click", "user_id": user, "item_id": item} for user in USERS]
    command(env, "promote", "--percent", "50")
    answer = httpx.post(f"{served['http']}/v1/events", json={"events": events})
    assert answer.json() == {"accepted": len(USERS)}
