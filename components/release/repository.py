"""The Triton model repository of a release: which models it holds, how they are configured, what lies beside them.

    router, expert_<name>, fusion, ranker    ONNX
    relevance, search                        Python models that call the others (business logic scripting)

The Python models' sources are files of the `serving` package, copied as data; so are the two ground-floor modules they
need, `contracts/text.py` and `contracts/blend.py`.
"""

import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import components.contracts.blend
import components.contracts.text
from components.contracts.features import (
    CATEGORICAL,
    NUMERIC,
    RELEVANCE_COLUMN,
    SEQUENCE_LENGTH,
    SEQUENCES,
)
from components.release.config import ReleaseConfig
from components.release.triton_config import Tensor, TritonModel, write_configs
from components.relevance.model.spec import ExpertSpec, MixtureSpec

VERSION = "1"


def expert_model(name: str) -> str:
    """Triton's name of an expert."""
    return f"expert_{name}"


def relevance_models(
    mixture: MixtureSpec, experts: Sequence[ExpertSpec], config: ReleaseConfig
) -> tuple[TritonModel, ...]:
    """Configurations of the relevance half, in the order of the calls."""
    tokens = (Tensor("input_ids", "INT64", (-1,)), Tensor("attention_mask", "INT64", (-1,)))
    slots = tuple(Tensor(f"pooled_{slot}", "FP32", (-1, dim)) for slot, dim in enumerate(mixture.dims))
    mask = Tensor("mask", "FP32", (-1, len(mixture.experts)))
    return (
        TritonModel(
            "router",
            "onnxruntime",
            (Tensor("ngrams", "INT64", (-1, mixture.router.max_ngrams)), Tensor("market", "INT64", (-1,))),
            (Tensor("experts", "INT64", (-1, mixture.top_k)), mask),
        ),
        *(
            TritonModel(
                expert_model(expert.name),
                "onnxruntime",
                tokens,
                (Tensor("pooled", "FP32", (expert.dim,)),),
                max_batch=max(config.micro_batch, 64),
                gpu_batch_delay_us=config.batch_delay_us,
            )
            for expert in experts
        ),
        TritonModel(
            "fusion",
            "onnxruntime",
            (*slots, mask),
            (Tensor("relevance", "FP32", (-1,)),),
        ),
        TritonModel(
            "relevance",
            "python",
            tuple(Tensor(name, "STRING", (-1,)) for name in ("market", "query", "title")),
            (Tensor("relevance", "FP32", (-1,)), Tensor("experts", "INT64", (-1, mixture.top_k))),
            runs_on_cpu=True,
        ),
    )


def ranking_models() -> tuple[TritonModel, ...]:
    """Configurations of the ranking half."""
    features = (
        Tensor("numeric", "FP32", (-1, len(NUMERIC))),
        Tensor("categorical", "INT64", (-1, len(CATEGORICAL))),
        Tensor("sequences", "INT64", (-1, len(SEQUENCES), SEQUENCE_LENGTH)),
    )
    probabilities = ("p_click", "p_purchase")
    return (
        TritonModel(
            "ranker",
            "onnxruntime",
            features,
            tuple(Tensor(name, "FP32", (-1,)) for name in probabilities),
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
    repository: Path, mixture: MixtureSpec, experts: Sequence[ExpertSpec], weights: Path, config: ReleaseConfig
) -> None:
    """Everything of the relevance half but the ONNX files: configurations, Python model, tokenizers, settings.

    Args:
        repository: the model repository being written.
        mixture, experts: specs of the trained mixture, experts in slot order.
        weights: the `experts` directory; each expert's tokenizer is taken from it.
        config: the release's configuration.
    """
    for model in relevance_models(mixture, experts, config):
        write_configs(model, repository / model.name)
    folder = repository / "relevance" / VERSION
    _copy_python_model("relevance", folder, components.contracts.text)
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
                "tokenizer": f"tokenizer_{expert.name}.json",
            }
            for expert in experts
        ],
    }
    for expert in experts:
        shutil.copyfile(weights / expert.name / "tokenizer.json", folder / f"tokenizer_{expert.name}.json")
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / "settings.json").write_text(text + "\n", encoding="utf-8")


def write_search_model(repository: Path, blend: components.contracts.blend.Blend) -> None:
    """Everything of the ranking half but the ONNX file."""
    for model in ranking_models():
        write_configs(model, repository / model.name)
    folder = repository / "search" / VERSION
    _copy_python_model("search", folder, components.contracts.blend)
    blend.save(folder / "blend.json")


def onnx_path(repository: Path, model: str) -> Path:
    """Where a model's ONNX file lies."""
    return repository / model / VERSION / "model.onnx"


def _copy_python_model(name: str, folder: Path, *modules: object) -> None:
    folder.mkdir(parents=True)
    sources = resources.files("serving") / "triton" / "models" / name
    for source in sources.iterdir():
        if source.name.endswith(".py"):
            (folder / source.name).write_bytes(source.read_bytes())
    for module in modules:
        path = Path(str(getattr(module, "__file__")))  # noqa: B009  a module's type does not promise a file
        shutil.copyfile(path, folder / path.name)
