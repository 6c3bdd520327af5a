"""Tiny experts from scratch, of the same families as the real ones: for tests, without weights or network.

Their vectors mean little; what they exercise is everything around them.
"""

from pathlib import Path
from typing import Any

from components.contracts.errors import BadInput

FAMILIES = ("bert", "gemma3", "qwen2", "qwen3", "xlm-roberta")
_VOCABULARY = 400
_LAYERS = 2
_SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
_WIDTH = {"bert": 32, "gemma3": 40, "qwen2": 48, "qwen3": 48, "xlm-roberta": 32}
_BIDIRECTIONAL = ("bert", "xlm-roberta")
# A few words of each market's languages: enough for some merges beyond the 256 bytes, which cover every script.
_SEED_TEXT = (
    "market: query: passage: item: phone case wireless charger running shoes women dress",
    "casing hp sepatu wanita tas ransel murah baju kemeja pria promo gratis ongkir",
    "sarung telefon kasut perempuan beg galas pelapis tudung baju kurung viral",
    "sapatos pambabae damit bag pang regalo mura sale original",
    "เคสโทรศัพท์ รองเท้าผู้หญิง กระเป๋าเป้ เสื้อยืด ราคาถูก ของแท้",
    "ốp lưng điện thoại giày nữ ba lô túi xách áo thun nam chính hãng giá rẻ",
    "手机壳 女鞋 背包 连衣裙 充电器",
)


def write_tiny_expert(family: str, folder: Path, layers: int | None = None, seed: int = 0) -> None:
    """Write config.json, model.safetensors and tokenizer.json of a random expert; same seed, same weights.

    Raises:
        BadInput: an unknown family.
    """
    if family not in FAMILIES:
        raise BadInput(f"tiny:{family}: no such family; known: {', '.join(FAMILIES)}")
    import torch
    from transformers import AutoModel

    tokenizer = _tokenizer(ends=family in _BIDIRECTIONAL)
    config = tiny_architecture(family, tokenizer.get_vocab_size(), min(layers or _LAYERS, _LAYERS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def tiny_architecture(family: str, vocabulary: int, layers: int) -> Any:
    """The transformers configuration of a tiny expert."""
    from transformers import BertConfig, Gemma3TextConfig, Qwen2Config, Qwen3Config, XLMRobertaConfig

    width = _WIDTH[family]
    shared = {"vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": layers, "pad_token_id": 0}
    shared |= {"num_attention_heads": 4, "intermediate_size": 2 * width, "max_position_embeddings": 256}
    if family in _BIDIRECTIONAL:
        encoder = BertConfig if family == "bert" else XLMRobertaConfig
        return encoder(**shared, type_vocab_size=2)
    causal = shared | {"num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}
    if family == "qwen2":
        return Qwen2Config(**causal)
    causal["head_dim"] = 16
    return Gemma3TextConfig(**causal, sliding_window=128) if family == "gemma3" else Qwen3Config(**causal)


def _tokenizer(ends: bool) -> Any:
    """Byte-level BPE with <bos> in front, and <eos> behind where `ends`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SEED_TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>" if ends else "<bos> $A", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return tokenizer
