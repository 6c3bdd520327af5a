"""What the relevance model is made of, as plain dataclasses that travel as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

EXPERTS_FILE = "experts.json"
MODEL_FILE = "model.json"


@dataclass(frozen=True)
class ExpertSpec:
    """One expert as the `experts` directory holds it; its weights lie in the folder `name`.

    Attributes:
        name, source: as configured.
        family: architecture, as `model_type` of the weights' config.json names it ("gemma3_text", "bert", ...).
        dim: width of its pooled vector.
        width: width of its trunk.
        layer: transformer blocks kept.
        parameters: number of its trunk's, embedding tables left out: what is active for every token.
        pooling: "mean" over the tokens, "last" token, or "segments" (expert.SegmentPooling).
        separator_id: token that begins the item's part of an input; None where pooling does not ask.
        template: input text of a pair.
        max_tokens: of longer inputs, query and item lose tokens (encoding.pair_tokenizer says which).
        pad_id: token id that fills batches.
        licence: one line; the texts lie in the expert's folder.
        digest: content digest of the expert's folder.
    """

    name: str
    family: str
    source: str
    dim: int
    width: int
    layer: int
    parameters: int
    pooling: str
    separator_id: int | None
    template: str
    max_tokens: int
    pad_id: int
    licence: str
    digest: str


@dataclass(frozen=True)
class TuningSpec:
    """How an expert is tuned.

    Attributes:
        rank, alpha, dropout: rank, scale and dropout of the adapters, whose product is multiplied by alpha / rank.
        epochs: passes over the training rows; the one with the lowest validation loss is kept.
        learning_rate, head_learning_rate: peaks, of adapters and head; a linear warm-up, then a cosine to zero.
        warmup: share of the steps that warm up.
        weight_decay: AdamW's, of the adapters.
        clip: largest norm of the gradient.
        batch_rows: pairs per step, over all processes.
        checkpoint_steps: steps between checkpoints.
        seed: seed of adapters, head, batches and dropout.
        sharding: "ddp" (every process holds the trunk) or "fsdp" (each holds a part of it); one process needs neither.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    epochs: int = 2
    learning_rate: float = 2e-4
    head_learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    batch_rows: int = 64
    checkpoint_steps: int = 100
    seed: int = 0
    sharding: Literal["ddp", "fsdp"] = "ddp"

    def __post_init__(self) -> None:
        """Raise ValueError where a number makes no sense."""
        counts = ("rank", "alpha", "epochs", "batch_rows", "checkpoint_steps")
        rates = ("learning_rate", "head_learning_rate", "clip")
        for name in (*counts, *rates):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be above 0")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be 0 or more and below 1")


@dataclass(frozen=True)
class RouterSpec:
    """The router's sizes (trigram hash buckets, trigrams read, embedding width) and its kind (router.py names them)."""

    ngram_buckets: int
    max_ngrams: int
    width: int
    kind: str = "end_to_end"


@dataclass(frozen=True)
class FusionSpec:
    """The fusion head's sizes: widths of its two hidden layers, dropout of its input and between them in training."""

    hidden: tuple[int, int]
    input_dropout: float
    dropout: float


@dataclass(frozen=True)
class MixtureSpec:
    """A whole mixture: markets in the order of their codes, experts and their widths in the order of the slots."""

    markets: tuple[str, ...]
    experts: tuple[str, ...]
    dims: tuple[int, ...]
    top_k: int
    router: RouterSpec
    fusion: FusionSpec

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> MixtureSpec:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        fusion = content["fusion"]
        first, second = fusion["hidden"]
        return cls(
            markets=tuple(content["markets"]),
            experts=tuple(content["experts"]),
            dims=tuple(content["dims"]),
            top_k=content["top_k"],
            router=RouterSpec(**content["router"]),
            fusion=FusionSpec((first, second), fusion["input_dropout"], fusion["dropout"]),
        )


def save_experts(directory: Path, specs: Sequence[ExpertSpec]) -> None:
    """Write experts.json: the specs in slot order."""
    content = json.dumps([asdict(spec) for spec in specs], indent=2, ensure_ascii=False)
    (directory / EXPERTS_FILE).write_text(content + "\n", encoding="utf-8")


def load_experts(directory: Path) -> tuple[ExpertSpec, ...]:
    """The specs of an `experts` directory, in slot order."""
    content: list[Mapping[str, Any]] = json.loads((directory / EXPERTS_FILE).read_text(encoding="utf-8"))
    names = [field.name for field in fields(ExpertSpec)]
    return tuple(ExpertSpec(**{name: entry[name] for name in names}) for entry in content)
