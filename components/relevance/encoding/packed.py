"""Texts to vectors with one expert on packs: what a GPU does instead of `padded.TextEncoder`.

Shape suffixes: n texts, B texts of a piece, D width of a vector.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.contracts.tools.device import compute_device
from components.contracts.tools.log import track
from components.relevance.ahead import prepared_ahead
from components.relevance.encoding.packed_expert import Precision, packed_expert
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.encoding.texts import Pair
from components.relevance.model.expert import read_expert
from components.relevance.model.spec import ExpertSpec
from components.relevance.packed.packs import Pack
from components.relevance.packed.runner import PackedRunner
from components.relevance.packed.tokens import Tokens

# Tokens per pack: the largest is 132 multiprocessors of an H100 or H200 times 192, the rows of a matrix product's tile
# there, so that the last round of tiles fills the GPU too; the others take what is left.
PACK_SIZES = (3_168, 6_336, 12_672, 25_344)
_PIECE = 4096


class PackedTextEncoder:
    """One expert with its tokenizer, on a GPU where there is one; on a CPU it gives the same vectors, slower.

    Args:
        folder: the expert's folder (config.json, model.safetensors, tokenizer.json).
        spec: how it reads and pools.
        precision: type of the matrix products.

    Raises:
        BadInput: 8-bit floats without a GPU that multiplies them.
    """

    def __init__(self, folder: Path, spec: ExpertSpec, precision: Precision) -> None:
        self.spec = spec
        self.device = compute_device()
        self.tokenizer = PairTokenizer.load(folder, spec)
        self._separator = spec.separator_id if spec.pooling == "segments" else None
        packed = packed_expert(read_expert(folder, spec).to(self.device), spec, precision)
        self._runner = PackedRunner(packed, 1 if self._separator is None else 2, PACK_SIZES)

    def encode(self, texts: Sequence[str], description: str | None = None) -> np.ndarray:
        """Vectors float32 (n, dim) of n single texts; progress is shown under `description`."""
        return self._encode(self.tokenizer.of_texts, texts, description)

    def encode_pairs(self, pairs: Sequence[Pair], description: str | None = None) -> np.ndarray:
        """Vectors float32 (n, dim) of n normalised pairs in the expert's template."""
        return self._encode(self.pair_tokens, pairs, description)

    def pair_tokens(self, pairs: Sequence[Pair]) -> Tokens:
        """Tokens of n >= 1 normalised pairs."""
        return self.tokenizer.tokens(*zip(*pairs, strict=True))

    def _encode(
        self, tokenise: Callable[[Sequence[Any]], Tokens], texts: Sequence[Any], description: str | None
    ) -> np.ndarray:
        pieces = [texts[start : start + _PIECE] for start in range(0, len(texts), _PIECE)]
        done = prepared_ahead(lambda piece: self.packed(tokenise(piece)), pieces)
        vectors = []
        for piece, ready in track(done, description, len(pieces)) if description else done:
            buffer_BD = torch.empty(len(piece), self.spec.dim, device=self.device)
            self.run(ready, np.arange(len(piece)), buffer_BD)
            vectors.append(buffer_BD.cpu().numpy())
        return np.concatenate(vectors) if vectors else np.empty((0, self.spec.dim), dtype=np.float32)

    def packed(self, tokens: Tokens) -> list[Pack]:
        """Tokens in packs."""
        return self._runner.packs(tokens, self._separator)

    def run(self, ready: Sequence[Pack], rows: np.ndarray, buffer_nD: Tensor) -> None:
        """Write the vectors of prepared texts into those rows of the buffer, on the encoder's device.

        A GPU is given all packs before the first is done, and nothing here waits for it: the host can go on.
        """
        rows_n = torch.from_numpy(rows)
        if self.device.type == "cuda":
            rows_n = rows_n.pin_memory().to(self.device, non_blocking=True)
        for pack in ready:
            buffer_nD[rows_n[pack.rows[0] : pack.rows[-1] + 1]] = self._runner.run(pack)
