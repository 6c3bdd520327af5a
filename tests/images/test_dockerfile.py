"""What images are made of, read from components/Dockerfile and its locks without building them."""

import inspect
import re
import subprocess
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.relevance.config import RelevanceConfig, WeightsConfig
from components.relevance.experts.packages import PACKAGES
from pipelines.cli.train import compile_
from pipelines.profile import load_profile
from tests.images.dockerfile import DOCKERFILE, LOCKS, REPOSITORY, ROLES, arguments, installed_locks, locked, versions

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = {
    canonicalize_name(name): version
    for name, version in (line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split())
}
_OF_CUDA = ("cuda-", "nvidia-", "triton")


def weights(config: RelevanceConfig) -> Iterator[WeightsConfig]:
    yield from config.experts
    yield config.texts
    if config.dense:
        yield config.dense


def test_default_images_hold_the_weights_of_the_default_profile() -> None:
    """`make images`, then `archipelago compile` without options: its step `encode` finds all it reads."""
    profile = load_profile(inspect.signature(compile_).parameters["profile"].default)
    sources = [each.source.partition(":") for each in weights(profile.relevance)]
    packages = {name for kind, _, name in sources if kind == "package"}
    assert packages, "the default profile runs without a model hub"
    wanted = {canonicalize_name(name) for package in packages for name in PACKAGES[package].distributions}
    assert wanted <= versions("train").keys()
    assert wanted.isdisjoint(versions("train", WEIGHTS="").keys()), "who names checkpoints may leave them out"


def test_bases_are_pinned_by_digest_in_one_place() -> None:
    bases = {name: value for name, value in arguments().items() if name.endswith("BASE")}
    assert bases.keys() == {"BASE", "TRITON_BASE"}
    for image in bases.values():
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    names = {name for _, name in stages}
    assert {parent for parent, _ in stages} - names == {"${BASE}", "${TRITON_BASE}"}


@pytest.mark.parametrize("name", ["BASE", "TRITON_BASE"])
@pytest.mark.parametrize(
    ("value", "unpinned", "status"),
    [
        (f"image@sha256:{'0' * 64}", "refused", 0),
        ("image:latest", "refused", 2),
        ("image:latest", "allowed", 0),
        ("image:allowed", "refused", 2),
    ],
)
def test_a_build_refuses_a_base_without_a_digest(name: str, value: str, unpinned: str, status: int) -> None:
    """The Dockerfile's own check, by the shell that runs it there; it is the first command of each base's stage."""
    stage = re.split(rf"^FROM \$\{{{name}\}} AS .*$", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    command = re.search(r"^RUN (.+?[^\\])$", stage, re.MULTILINE | re.DOTALL)
    assert command
    assert re.match(rf"\nARG {name}\nARG UNPINNED=refused\nRUN ", stage), "else the argument is empty in this stage"
    done = subprocess.run(
        ["sh", "-c", command[1]], env={name: value, "UNPINNED": unpinned}, capture_output=True, text=True
    )
    assert done.returncode == status
    assert (f"{name}={value} has no digest" in done.stderr) == bool(status)


def test_tritons_release_is_the_one_whose_notes_were_read() -> None:
    """components/locks/README.md says what they say: another release's are to be read, too."""
    release = re.search(r"tritonserver:(\d\d\.\d\d)-py3@", arguments()["TRITON_BASE"])
    assert release
    assert f"Triton {release[1]} " in (LOCKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lock", sorted(path.stem for path in LOCKS.glob("*.txt")))
def test_every_locked_file_has_its_hash_and_its_pin(lock: str) -> None:
    for name, (version, hashes) in locked(lock).items():
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), name
        pin = PINS.get(name)
        assert version.partition("+")[0] == pin or (pin is None and name.startswith(_OF_CUDA)), (name, version, pin)


def requirements(extra: str) -> Iterator[Requirement]:
    for requirement in map(Requirement, [*PROJECT["dependencies"], *EXTRAS[extra]]):
        if requirement.name == PROJECT["name"]:
            for inner in requirement.extras:
                yield from requirements(inner)
        else:
            yield requirement


@pytest.mark.parametrize("torch", ["cpu", "cuda"])
@pytest.mark.parametrize("role", ROLES)
def test_a_role_installs_what_its_extra_asks_for(role: str, torch: str) -> None:
    """A change of pyproject.toml without `make locks` fails here."""
    held = versions(role, TORCH=torch)
    for requirement in requirements(role):
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(held.get(name, "0")), f"{requirement}, locked: {held.get(name)}"


def test_images_on_a_cpu_hold_nothing_of_cuda() -> None:
    for role in ROLES:
        assert [name for name in versions(role, TORCH="cpu") if name.startswith(("cuda-", "nvidia-"))] == []
    assert [name for name in versions("train", TORCH="cuda") if name.startswith("nvidia-")]


def test_serving_holds_nothing_that_draws_trains_or_reaches_a_cloud() -> None:
    unwanted = {"plotly", "torch", "transformers", "evidently", "boto3", "kserve-storage", "azure-core", "scikit-learn"}
    assert unwanted.isdisjoint(versions("serve"))


def test_tritons_own_numpy_stays() -> None:
    assert "numpy" not in locked("triton") | locked("triton-gpu")


def test_everything_is_installed_from_a_lock() -> None:
    """One `pip install` that names a package, or no hashes, would undo the locks of the rest."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    for command in re.findall(r"pip install ([^'\n;]*)", text):
        assert command.startswith("--no-deps "), command
        hashed = "--require-hashes --only-binary :all: -r" in command
        source = "--require-hashes --no-build-isolation -r /locks/spark.txt" in command  # PySpark has no wheel
        assert hashed or source or command.endswith("--no-index /dist/*.whl"), command
    used = {name for role in ROLES for torch in ("cpu", "cuda") for name in installed_locks(role, TORCH=torch)}
    assert used | {"build", "spark", "triton", "triton-gpu"} == {path.stem for path in LOCKS.glob("*.txt")}
