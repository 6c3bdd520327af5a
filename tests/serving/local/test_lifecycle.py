"""How a service starts, fails and ends: no orphan, no half-started server, messages that help."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import write_manifest
from serving import client
from serving.local import launcher, processes
from serving.local.launcher import serve_release
from serving.local.processes import Child, ServingFailed, free_ports, sigterm_as_exit
from tests.release.tiny_release import Tiny
from tests.serving.faults.faulty import reseal
from tests.serving.real_triton import require_triton

ROOT = Path(__file__).resolve().parents[3]


def python(name: str, code: str, folder: Path, grace_s: float = 10.0) -> Child:
    return Child(name, [sys.executable, "-c", code], folder / f"{name}.log", os.environ, folder, grace_s)


def gone(pids: list[int], within_s: float = 15.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.1)
    return False


def needs_triton() -> None:
    require_triton()


def test_a_child_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = python("sulker", "print('not today'); raise SystemExit(3)", tmp_path)
    assert gone([child.pid])
    with pytest.raises(ServingFailed, match=r"sulker ended with code 3(.|\n)*not today"):
        child.check()
    child.stop()


def test_a_child_that_ignores_sigterm_is_killed_with_its_group(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
    )
    child = python("stubborn", code, tmp_path, grace_s=0.5)
    while not child.tail():
        time.sleep(0.05)
    child.stop()
    assert gone([child.pid, int(child.tail())])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_children_die_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time; from pathlib import Path; from serving.local.processes import Child;"
        # A shell's background job, such as these tests may be, starts its programs with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "c = Child('c', [sys.executable, '-c', 'import time; time.sleep(60)'], Path('c.log'), os.environ, Path('.'));"
        "time.sleep(1); print(c.pid, flush=True); time.sleep(60)"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=env)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)
    parent.send_signal(how)
    parent.wait(10)
    assert gone([child])


def test_sigterm_unwinds_the_stack() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, sigterm_as_exit():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(20))) == 20


def test_without_triton_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIPELAGO_TRITON_VENV", str(tmp_path))
    write_manifest(tmp_path, "relevance-release", {}, {}, markets=["ID"], experts=[])
    reseal(tmp_path)
    with pytest.raises(BadInput, match="make setup"), serve_release(tmp_path, tmp_path / "state"):
        pass


def test_only_releases_are_served(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"manifest\.json"), serve_release(tmp_path, tmp_path / "state"):
        pass
    write_manifest(tmp_path, "log", {}, {})
    with pytest.raises(BadInput, match="a directory of kind 'log', not a release"), serve_release(tmp_path, tmp_path):
        pass


def test_the_client_says_when_nobody_answers() -> None:
    (port,) = free_ports(1)
    with pytest.raises(client.Unavailable, match="no answer"):
        client.search(f"http://{processes.LOOPBACK}:{port}", "ID", "u", "q", ["i"])


@pytest.mark.slow
def test_a_release_without_ranking_serves_relevance_alone(tiny: Tiny, tmp_path: Path) -> None:
    needs_triton()
    with serve_release(tiny.relevance_only, tmp_path / "state") as service:
        relevance, experts = client.relevance(service.url, ["TH"], ["เคส"], ["เคสโทรศัพท์"])
        assert relevance.shape == (1,)
        assert experts.shape == (1, 2)
        assert httpx.get(f"{service.url}/v2/models").json() == {"models": ["relevance"]}
        with pytest.raises(client.Unavailable, match="404"):
            client.search(service.url, "TH", "u", "q", ["i"])
        pids = list(service.pids.values())
    assert gone(pids)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_the_launcher(how: signal.Signals, tiny: Tiny, tmp_path: Path) -> None:
    needs_triton()
    code = (
        "import sys, time; from pathlib import Path; from serving.local.launcher import serve_release\n"
        "with serve_release(Path(sys.argv[1]), Path(sys.argv[2])) as s:\n"
        "    print(*s.pids.values(), flush=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", code, str(tiny.relevance_only), str(tmp_path / "state")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert launcher.stdout is not None
    pids = [int(pid) for pid in launcher.stdout.readline().split()]
    pids += [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    assert len(pids) > 4
    launcher.send_signal(how)
    launcher.wait(60)
    assert gone(pids, 30)


@pytest.mark.slow
def test_a_broken_repository_is_reported_with_tritons_words(tiny: Tiny, tmp_path: Path) -> None:
    needs_triton()
    release = shutil.copytree(tiny.relevance_only, tmp_path / "release")
    (release / "triton" / "fusion" / "1" / "model.onnx").write_bytes(b"no model")
    reseal(release)
    started = time.monotonic()
    with pytest.raises(ServingFailed, match="tritonserver ended with code 1"), serve_release(release, tmp_path / "s"):
        pass
    assert time.monotonic() - started < 60
    assert "failed to load 'fusion'" in next((tmp_path / "s").glob("*/logs/triton.log")).read_text()


def test_a_service_counts_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder of metrics the launching process names, as Feast does when it is imported."""
    started: dict[str, str] = {}

    def child(name: str, command: list[str], log: Path, environment: dict[str, str], *_: object, **__: object) -> None:
        started.update(environment)

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr("serving.local.launcher.Child", child)
    side = SimpleNamespace(
        release=SimpleNamespace(path=tmp_path), http=1, grpc=2, triton=SimpleNamespace(http=3, grpc=4)
    )
    launcher._start_transformer(side, tmp_path, None, 1, ())
    assert started
    assert "PROMETHEUS_MULTIPROC_DIR" not in started
