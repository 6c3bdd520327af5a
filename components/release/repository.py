"""The Triton model repository of a release: which models it holds, how they are configured, what lies beside them.

    router, expert_<name>, fusion, ranker    ONNX
    relevance, search                        Python models that call the others (business logic scripting)

On a GPU, `expert_<name>` and `relevance` are other models of the same names: experts on packs, without padding, and the
whole mixture in one process. They need neither `router` nor `fusion` of the repository.

The Python models' sources are files of the `serving` package, copied as data. So are the modules of the project that
they import: those of `relevance` lie beside it and serve the experts too, `contracts/blend.py` lies beside `search`.
"""

import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import components.contracts.blend
from components.contracts.features import (
    CATEGORICAL,
    NUMERIC,
    RELEVANCE_COLUMN,
    SEQUENCE_LENGTH,
    SEQUENCES,
)
from components.release.blobs import link_or_copy
from components.release.config import ReleaseConfig
from components.release.module_tree import copy_modules
from components.release.triton_config import Tensor, TritonModel, write_configs
from components.relevance.model.mixture import MIXTURE_FILES
from components.relevance.model.spec import ExpertSpec, MixtureSpec, save_experts
from components.relevance.scoring.served import EXPERTS

VERSION = "1"
# Of small models on a CPU: a second thread costs more than it gives (the ranker, 50 rows: 0.9 ms of CPU, and 1.6).
_ONE_THREAD = {"intra_op_thread_count": "1"}
# Requests that are gathered at most; one holds all pairs of a search.
REQUESTS = 64
# Tokens per pack on a GPU: multiples of 528 (132 multiprocessors of an H100 times 4). A lone search fills a small pack;
# every size costs memory and start-up time; the largest is batch scoring's.
PACK_SIZES = (
    *(528, 1_056, 1_584, 2_112, 2_640, 3_168, 3_696, 4_224, 5_280, 6_336),
    *(8_448, 10_560, 12_672, 16_896, 21_120, 25_344),
)  # fmt: skip
PACKED_SOURCE = "packed.py"
# What the Python models import of the project.
_MODULES = ("components.contracts.text", "components.relevance.scoring.served")
_EXPERT_FILES = ("config.json", "tokenizer.json", "*.safetensors", "*.safetensors.index.json")


def expert_model(name: str) -> str:
    """Triton's name of an expert."""
    return f"expert_{name}"


def relevance_models(
    mixture: MixtureSpec, experts: Sequence[ExpertSpec], config: ReleaseConfig
) -> tuple[TritonModel, ...]:
    """Configurations of the relevance half on a CPU, in the order of the calls."""
    tokens = (Tensor("input_ids", "INT64", (-1,)), Tensor("attention_mask", "INT64", (-1,)))
    slots = tuple(Tensor(f"pooled_{slot}", "FP32", (-1, dim)) for slot, dim in enumerate(mixture.dims))
    mask = Tensor("mask", "FP32", (-1, len(mixture.experts)))
    return (
        TritonModel(
            "router",
            "onnxruntime",
            (Tensor("ngrams", "INT64", (-1, mixture.router.max_ngrams)), Tensor("market", "INT64", (-1,))),
            (Tensor("experts", "INT64", (-1, mixture.top_k)), mask),
            parameters=_ONE_THREAD,
        ),
        *(
            TritonModel(
                expert_model(expert.name),
                "onnxruntime",
                tokens,
                (Tensor("pooled", "FP32", (expert.dim,)),),
                max_batch=max(config.micro_batch, 64),
            )
            for expert in experts
        ),
        TritonModel(
            "fusion",
            "onnxruntime",
            (*slots, mask, Tensor("lexical", "FP32", (-1,))),
            (Tensor("relevance", "FP32", (-1,)),),
            parameters=_ONE_THREAD,
        ),
        TritonModel("relevance", "python", *_pairs(mixture), max_batch=REQUESTS),
    )


def packed_models(
    mixture: MixtureSpec, experts: Sequence[ExpertSpec], config: ReleaseConfig
) -> tuple[TritonModel, ...]:
    """The models of `relevance_models` that are others on a GPU: experts on packs, and the mixture in one model."""
    tokens = tuple(Tensor(name, "INT32", (-1,), ragged=True) for name in ("ids", "lengths"))
    packing = {"precision": config.precision, "pack_sizes": ",".join(map(str, PACK_SIZES))}
    return (
        *(
            TritonModel(
                expert_model(expert.name),
                "python",
                tokens,
                (Tensor("pooled", "FP32", (-1, expert.dim)),),
                max_batch=REQUESTS,
                file=PACKED_SOURCE,
                parameters={**packing, "expert": expert.name},
                gpu_batch_delay_us=config.batch_delay_us,
            )
            for expert in experts
        ),
        TritonModel(
            "relevance",
            "python",
            *_pairs(mixture),
            max_batch=REQUESTS,
            file=PACKED_SOURCE,
            parameters=packing,
            gpu_batch_delay_us=config.batch_delay_us,
        ),
    )


def _pairs(mixture: MixtureSpec) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs of `relevance`: all pairs of a request are one row of Triton's batch."""
    return (
        tuple(Tensor(name, "STRING", (-1,), ragged=True) for name in ("market", "query", "title")),
        (Tensor("relevance", "FP32", (-1,)), Tensor("experts", "INT64", (-1, mixture.top_k))),
    )


def ranking_models() -> tuple[TritonModel, ...]:
    """Configurations of the ranking half."""
    features = (
        Tensor("numeric", "FP32", (-1, len(NUMERIC))),
        Tensor("categorical", "INT64", (-1, len(CATEGORICAL))),
        Tensor("sequences", "INT64", (1, len(SEQUENCES), SEQUENCE_LENGTH)),
    )
    probabilities = ("p_click", "p_purchase")
    return (
        TritonModel(
            "ranker",
            "onnxruntime",
            features,
            tuple(Tensor(name, "FP32", (-1,)) for name in probabilities),
            parameters=_ONE_THREAD,
        ),
        TritonModel(
            "search",
            "python",
            (*features, Tensor("market", "STRING", (1,))),
            tuple(Tensor(name, "FP32", (-1,)) for name in ("score", "relevance", *probabilities)),
            parameters={"relevance_column": str(RELEVANCE_COLUMN)},
            runs_on_cpu=True,
        ),
    )


def write_relevance_model(
    repository: Path,
    mixture: MixtureSpec,
    experts: Sequence[ExpertSpec],
    model: Path,
    weights: Path,
    config: ReleaseConfig,
) -> None:
    """Everything of the relevance half but the ONNX files: configurations, Python models, weights, settings.

    Args:
        repository: the model repository being written.
        mixture, experts: specs of the trained mixture, experts in slot order.
        model: the relevance model's directory; a GPU runs its router and fusion, both devices its lexical expert.
        weights: the `experts` directory: tokenizers of both devices, and trunks that a GPU runs.
        config: the release's configuration.
    """
    gpu = {packed.name: packed for packed in packed_models(mixture, experts, config)}
    for served in relevance_models(mixture, experts, config):
        write_configs(served, repository / served.name, gpu.get(served.name))
    folder = repository / "relevance" / VERSION
    _copy_python_model("relevance", folder)
    copy_modules(folder, *_MODULES)
    for expert in experts:
        _copy_python_model("expert", repository / expert_model(expert.name) / VERSION)
        target = folder / EXPERTS / expert.name
        target.mkdir(parents=True)
        for path in sorted(path for pattern in _EXPERT_FILES for path in (weights / expert.name).glob(pattern)):
            link_or_copy(path, target / path.name)
    save_experts(folder / EXPERTS, experts)
    for name in MIXTURE_FILES:
        shutil.copyfile(model / name, folder / name)
    settings = {
        "markets": list(mixture.markets),
        "micro_batch": config.micro_batch,
        "router": {"ngram_buckets": mixture.router.ngram_buckets, "max_ngrams": mixture.router.max_ngrams},
        "experts": [
            {
                "model": expert_model(expert.name),
                "template": expert.template,
                "max_tokens": expert.max_tokens,
                "dim": expert.dim,
                "pad_id": expert.pad_id,
                "tokenizer": f"{EXPERTS}/{expert.name}/tokenizer.json",
            }
            for expert in experts
        ],
    }
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / "settings.json").write_text(text + "\n", encoding="utf-8")


def write_search_model(repository: Path, blend: components.contracts.blend.Blend) -> None:
    """Everything of the ranking half but the ONNX file."""
    for model in ranking_models():
        write_configs(model, repository / model.name)
    folder = repository / "search" / VERSION
    _copy_python_model("search", folder)
    source = Path(components.contracts.blend.__file__)
    shutil.copyfile(source, folder / source.name)
    blend.save(folder / "blend.json")


def onnx_path(repository: Path, model: str) -> Path:
    """Where a model's ONNX file lies."""
    return repository / model / VERSION / "model.onnx"


def _copy_python_model(name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sources = resources.files("serving") / "triton" / "models" / name
    for source in sources.iterdir():
        if source.name.endswith(".py"):
            (folder / source.name).write_bytes(source.read_bytes())
