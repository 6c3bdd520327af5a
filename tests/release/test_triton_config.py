"""Model configurations: text that Triton reads, names that match folders, one repository for CPU and GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.errors import BadInput
from components.release.config import ReleaseConfig
from components.release.repository import packed_models, ranking_models, relevance_models
from components.release.triton_config import (
    DEVICES,
    Tensor,
    TritonModel,
    from_text,
    protobufs,
    to_protobuf,
    to_text,
    write_configs,
)
from components.relevance.model.spec import ExpertSpec, FusionSpec, MixtureSpec, RouterSpec

MIXTURE = MixtureSpec(("ID", "TH"), ("small-one", "b"), (8, 12), 2, RouterSpec(64, 16, 4), FusionSpec((8, 4), 0.1, 0.1))
EXPERTS = tuple(
    ExpertSpec(
        name=name,
        family="bert",
        source="tiny:bert",
        dim=dim,
        width=dim,
        layer=2,
        parameters=100,
        pooling="mean",
        separator_id=None,
        template="{query}{item}",
        max_tokens=32,
        pad_id=0,
        licence="none",
        digest="0" * 64,
    )
    for name, dim in zip(MIXTURE.experts, MIXTURE.dims, strict=True)
)
PACKED = packed_models(MIXTURE, EXPERTS, ReleaseConfig())
MODELS = (*relevance_models(MIXTURE, EXPERTS, ReleaseConfig()), *ranking_models())


def test_the_repository_holds_the_models_of_the_architecture() -> None:
    names = [model.name for model in MODELS]
    assert names == ["router", "expert_small-one", "expert_b", "fusion", "relevance", "ranker", "search"]


@pytest.mark.parametrize("model", (*MODELS, *PACKED), ids=lambda model: model.name)
@pytest.mark.parametrize("device", DEVICES)
def test_text_parses_back_to_the_same_message(model: TritonModel, device) -> None:
    assert from_text(to_text(model, device)) == to_protobuf(model, device)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_cpu_configurations_ask_for_no_gpu_and_no_batcher(model: TritonModel) -> None:
    kinds = protobufs().ModelInstanceGroup
    cpu, gpu = to_protobuf(model, "cpu"), to_protobuf(model, "gpu")
    assert [group.kind for group in cpu.instance_group] == [kinds.KIND_CPU]
    assert not cpu.HasField("dynamic_batching")
    if model.name not in {packed.name for packed in PACKED}:
        expected = kinds.KIND_CPU if model.backend == "python" else kinds.KIND_GPU
        assert [group.kind for group in gpu.instance_group] == [expected]
        assert not gpu.HasField("dynamic_batching")


@pytest.mark.parametrize("model", PACKED, ids=lambda model: model.name)
def test_a_gpu_gathers_ragged_requests_for_its_packed_models(model: TritonModel) -> None:
    gpu = to_protobuf(model, "gpu")
    assert [group.kind for group in gpu.instance_group] == [protobufs().ModelInstanceGroup.KIND_GPU]
    assert (gpu.backend, gpu.default_model_filename, gpu.max_batch_size) == ("python", "packed.py", 64)
    assert all(tensor.allow_ragged_batch and list(tensor.dims) == [-1] for tensor in gpu.input)
    assert gpu.HasField("dynamic_batching")
    assert gpu.dynamic_batching.max_queue_delay_microseconds == 0
    assert not gpu.dynamic_batching.preferred_batch_size
    # Both stall the dynamic batcher of the server version in use.
    assert not gpu.dynamic_batching.HasField("default_queue_policy")
    assert gpu.parameters["precision"].string_value == "bfloat16"
    sizes = [int(size) for size in gpu.parameters["pack_sizes"].string_value.split(",")]
    assert sizes == sorted(sizes)
    assert all(size % 528 == 0 for size in sizes)


def test_callers_see_one_relevance_on_both_devices() -> None:
    cpu, gpu = (next(m for m in models if m.name == "relevance") for models in (MODELS, PACKED))
    assert (cpu.inputs, cpu.outputs, cpu.max_batch) == (gpu.inputs, gpu.outputs, gpu.max_batch)


def test_the_precision_is_the_releases() -> None:
    config = ReleaseConfig(precision="float8")
    packed = packed_models(MIXTURE, EXPERTS, config)
    assert {model.parameters["precision"] for model in packed} == {"float8"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_tensors_are_the_same_on_both_devices(model: TritonModel) -> None:
    cpu, gpu = to_protobuf(model, "cpu"), to_protobuf(model, "gpu")
    assert list(cpu.input) == list(gpu.input)
    assert list(cpu.output) == list(gpu.output)
    assert cpu.max_batch_size == gpu.max_batch_size


def test_edges_are_fp32_int64_and_strings() -> None:
    pb = protobufs()
    allowed = {pb.TYPE_FP32, pb.TYPE_INT32, pb.TYPE_INT64, pb.TYPE_STRING}
    for model in (*MODELS, *PACKED):
        message = to_protobuf(model, "gpu")
        assert {tensor.data_type for tensor in (*message.input, *message.output)} <= allowed


@pytest.mark.parametrize("name", ["", "Expert", "expert a", "../x", "1st"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="Triton model name"):
        TritonModel(name, "python", (), ())


def test_a_tensor_name_may_not_repeat() -> None:
    twice = Tensor("x", "FP32", (1,))
    with pytest.raises(BadInput, match="twice"):
        TritonModel("m", "python", (twice,), (twice,))


def test_dynamic_batching_needs_a_batch() -> None:
    with pytest.raises(BadInput, match="max_batch"):
        TritonModel("m", "onnxruntime", (), (), gpu_batch_delay_us=1)


def test_the_folder_must_bear_the_models_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="must be equal"):
        write_configs(MODELS[0], tmp_path / "another")
    write_configs(MODELS[0], tmp_path / MODELS[0].name)
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.pbtxt"))
    assert written == ["router/config.pbtxt", "router/configs/cpu.pbtxt"]


def test_a_folder_may_hold_another_model_for_a_gpu(tmp_path: Path) -> None:
    cpu, gpu = (next(m for m in models if m.name == "expert_b") for models in (MODELS, PACKED))
    write_configs(cpu, tmp_path / cpu.name, gpu)
    assert from_text((tmp_path / cpu.name / "config.pbtxt").read_text()) == to_protobuf(gpu, "gpu")
    assert from_text((tmp_path / cpu.name / "configs" / "cpu.pbtxt").read_text()) == to_protobuf(cpu, "cpu")
    with pytest.raises(BadInput, match="must be equal"):
        write_configs(cpu, tmp_path / cpu.name, PACKED[-1])


def test_garbage_is_no_configuration() -> None:
    with pytest.raises(BadInput, match="not a Triton model configuration"):
        from_text("name: 3 }")


@pytest.mark.parametrize("first", ["kserve", "components.release.triton_config"])
def test_kserve_may_live_in_the_same_process(first: str) -> None:
    """Importing tritonclient.grpc would not: both register the inference protocol."""
    code = f"import {first}; import kserve; from components.release.triton_config import protobufs; protobufs()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
