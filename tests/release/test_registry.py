"""Releases in a folder and in Kubeflow's Model Registry: registered once, found again, with what they were made of."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts.errors import BadInput
from components.contracts.releases import sealed
from components.contracts.tools.manifest import write_json
from components.release.registry import RegistryError, open_registry
from pipelines.cli.main import app
from tests.release.registry_server import Kept, serving

DIGEST = "0123456789ab" + "0" * 52


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a release's manifest."""
    root = tmp_path / "built"
    root.mkdir()
    facts = {
        "kind": "search-release",
        "digest": DIGEST,
        "markets": ["ID", "TH"],
        "simulated": True,
        "inputs": {"log": "aa", "relevance_model": "bb"},
        "figures": {"auc": {"pooled": 0.7}, "intervals": {"pooled": [0.6, 0.8]}},
    }
    write_json(root / "manifest.json", sealed(facts))
    return root


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH", raising=False)
    with serving(Kept()) as server:
        yield server


def test_a_release_is_registered_once_with_its_lineage(kept: Kept, release: Path) -> None:
    registry = open_registry(kept.url)
    assert registry.register(release, "s3://releases/0123456789ab", "run-7") is True
    assert registry.register(release, "s3://releases/0123456789ab", "run-8") is False
    (model,), (version,), (artifact,) = kept.registered_models, kept.model_versions, kept.artifacts
    assert (model["name"], version["name"], artifact["uri"]) == (
        "search-release",
        "0123456789ab",
        "s3://releases/0123456789ab",
    )
    told = {name: list(value.values()) for name, value in version["customProperties"].items()}
    assert "run-7" in told["run"] and DIGEST in told["digest"]
    assert json.dumps({"log": "aa", "relevance_model": "bb"}) in told["inputs"]
    assert json.dumps({"pooled": [0.6, 0.8]}) in told["intervals"]
    assert [(each.name, each.uri, each.run) for each in registry.releases()] == [
        ("0123456789ab", "s3://releases/0123456789ab", "run-7")
    ]


def test_a_registration_that_was_cut_off_is_made_whole_by_the_next(kept: Kept, release: Path) -> None:
    kept.dies_before = "artifacts"
    with pytest.raises(RegistryError, match="500 the database is gone"):
        open_registry(kept.url).register(release, "s3://releases/x", None)
    assert (len(kept.model_versions), len(kept.artifacts)) == (1, 0)
    assert open_registry(kept.url).register(release, "s3://releases/x", None) is True
    assert open_registry(kept.url).register(release, "s3://releases/x", None) is False
    assert (len(kept.model_versions), [each["uri"] for each in kept.artifacts]) == (1, ["s3://releases/x"])


def test_several_at_once_leave_one_version_and_nobody_fails(kept: Kept, release: Path) -> None:
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "register", str(release)]
    command += ["--registry", kept.url, "--uri", "s3://releases/x"]
    together = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0] for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], said
    assert (len(kept.registered_models), len(kept.model_versions), len(kept.artifacts)) == (1, 1, 1)


def test_what_is_wrong_is_one_line(kept: Kept, release: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--uri"):
        open_registry(kept.url).register(release, None, None)
    with pytest.raises(BadInput, match="manifest"):
        open_registry(kept.url).register(tmp_path, "s3://releases/x", None)
    kept.token = "secret"
    with pytest.raises(BadInput, match="401 who are you"):
        open_registry(kept.url)
    with pytest.raises(RegistryError, match="nobody answers"):
        open_registry("http://127.0.0.1:9")


def test_a_pods_token_goes_with_each_call(
    kept: Kept, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    kept.token = "secret"
    assert open_registry(kept.url).register(release, "s3://releases/x", None)


def test_a_folder_is_a_registry_too(release: Path, tmp_path: Path) -> None:
    registry = open_registry(str(tmp_path / "releases"))
    assert registry.releases() == []
    assert registry.register(release, None, None) is True
    assert registry.register(release, None, None) is False
    (found,) = registry.releases()
    assert (found.name, Path(found.uri)) == ("0123456789ab", tmp_path / "releases" / "0123456789ab")
    assert (Path(found.uri) / "manifest.json").is_file()
    with pytest.raises(BadInput, match="holds its releases itself"):
        registry.register(release, "s3://elsewhere", None)


def test_the_commands(kept: Kept, release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("registered", "was registered before"):
        app(
            ["register", str(release), "--registry", kept.url, "--uri", "s3://r/x", "--run", "run-7"],
            standalone_mode=False,
        )
        assert said in capsys.readouterr().out
    app(["releases", "--registry", kept.url], standalone_mode=False)
    assert capsys.readouterr().out == "0123456789ab  s3://r/x  run run-7\n"
