"""GGUF files (llama.cpp's format) to Hugging Face folders, through transformers' dequantisation."""

import json
from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput


def gguf_file(folder: Path) -> Path | None:
    """The folder's one GGUF file; None where it has none. BadInput where it has several."""
    found = sorted(folder.glob("*.gguf"))
    if len(found) > 1:
        raise BadInput(f"{folder}: {len(found)} GGUF files ({', '.join(p.name for p in found)}); leave one there")
    return found[0] if found else None


def cut_layers(config: Any, layers: int | None) -> None:
    """Keep the first `layers` blocks (None: all) of a transformers configuration."""
    if layers is None:
        return
    config.num_hidden_layers = min(layers, config.num_hidden_layers)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: config.num_hidden_layers]


def convert_gguf(file: Path, folder: Path, layers: int | None) -> None:
    """Write config.json, model.safetensors and tokenizer.json of the base model, its first `layers` blocks kept.

    Quantised weights are kept in bfloat16, whose rounding is finer than that of eight bits; others in float32.

    Raises:
        BadInput: not a GGUF file, or of an architecture that transformers does not read.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    try:
        config = AutoConfig.from_pretrained(**source)
        cut_layers(config, layers)
        model = AutoModel.from_pretrained(
            **source,
            config=config,
            quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
            dtype=torch.float32,
        )
        tokenizer = AutoTokenizer.from_pretrained(**source)
    except (ValueError, KeyError, OSError, NotImplementedError) as error:
        raise BadInput(f"{file}: not a GGUF file that transformers reads ({str(error).splitlines()[0]})") from error
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise BadInput(f"{file}: transformers makes no fast tokenizer of it")
    model.to(torch.bfloat16 if _is_quantised(file) else torch.float32).save_pretrained(folder)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    _drop_quantisation(folder / "config.json")


def _is_quantised(file: Path) -> bool:
    """Whether any matrix is stored in blocks of few bits."""
    from gguf import GGMLQuantizationType, GGUFReader

    plain = {GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16}
    return any(tensor.tensor_type not in plain for tensor in GGUFReader(file).tensors)


def _drop_quantisation(path: Path) -> None:
    """The saved weights are plain: nothing may make a loader look for a GGUF file."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
