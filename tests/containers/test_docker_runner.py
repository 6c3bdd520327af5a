"""kfp.local's DockerRunner with the project's images: what passes between containers, and failures that must show."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from kfp import dsl, local
from kfp.dsl import Dataset, Input, Output

from pipelines.docker_runner import keep_exit_status

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def produce(number: int, out: Output[Dataset]) -> None:
    from pathlib import Path

    from components.contracts.tools.manifest import write_manifest

    Path(out.path).mkdir(parents=True)
    (Path(out.path) / "number.txt").write_text(str(number))
    write_manifest(Path(out.path), "number", {"number": number}, {})


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def consume(numbers: Input[Dataset]) -> int:
    from pathlib import Path

    import torch

    return int(torch.tensor(int((Path(numbers.path) / "number.txt").read_text())) * 2)


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def fail() -> None:
    raise ValueError("as it was asked to")


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def vanish() -> None:
    import os

    os._exit(9)  # as the kernel's out-of-memory killer would: no message, no output


@pytest.fixture
def pipeline_root(images: Mapping[str, str], tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)  # images write as their own user
    keep_exit_status()
    local.init(local.DockerRunner(network_mode="none"), pipeline_root=str(tmp_path))
    return tmp_path


def test_artifacts_and_parameters_pass_between_images(pipeline_root: Path) -> None:
    @dsl.pipeline
    def numbers(number: int) -> int:
        return consume(numbers=produce(number=number).outputs["out"]).output

    assert numbers(number=21).output == 42


@dsl.pipeline
def failing() -> None:
    fail()


@dsl.pipeline
def vanishing() -> None:
    vanish()


@pytest.mark.parametrize("pipeline", [failing, vanishing])
def test_a_failing_container_is_always_seen_to_fail(pipeline_root: Path, pipeline: Callable[[], object]) -> None:
    for _ in range(5):  # a lost exit status is a race: one run would prove little
        with pytest.raises(RuntimeError, match="FAILURE"):
            pipeline()
