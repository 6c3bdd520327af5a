"""Texts to vectors with one expert: tokenise, batch by length, run the trunk in float32, on a GPU if there is one.

float32 and not bfloat16, so that stored scores equal what the server computes to 1e-4.

Shape suffixes: B texts of a batch, T tokens.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from components.contracts.tools.device import compute_device
from components.contracts.tools.log import track
from components.relevance.encoding.pair_tokenizer import PairTokenizer
from components.relevance.encoding.texts import Pair
from components.relevance.model.expert import Expert, read_expert
from components.relevance.model.spec import ExpertSpec


class TextEncoder:
    """One expert with its tokenizer.

    Args:
        folder: the expert's folder (config.json, model.safetensors, tokenizer.json).
        spec: how it reads and pools.
        batch_tokens: padded tokens per batch at most.
    """

    def __init__(self, folder: Path, spec: ExpertSpec, batch_tokens: int = 1024) -> None:
        self.spec = spec
        self.batch_tokens = batch_tokens
        self.tokenizer = PairTokenizer.load(folder, spec)
        self.device = compute_device()
        self.expert: Expert = read_expert(folder, spec).to(self.device)

    def encode(self, texts: Sequence[str], description: str | None = None) -> np.ndarray:
        """Vectors float32 (n, dim) of n single texts; progress is shown under `description`."""
        return self._encode(self.tokenizer.of_texts(texts).lists(), description)

    def encode_pairs(self, pairs: Sequence[Pair], description: str | None = None) -> np.ndarray:
        """Vectors float32 (n, dim) of n normalised pairs in the expert's template."""
        return self._encode(self.tokenizer.tokens(*zip(*pairs, strict=True)).lists() if pairs else [], description)

    def _encode(self, ids: Sequence[np.ndarray], description: str | None) -> np.ndarray:
        vectors = np.empty((len(ids), self.spec.dim), dtype=np.float32)
        batches = length_batches([len(tokens) for tokens in ids], self.batch_tokens)
        done = self._run(ids, batches)
        for rows, pooled in track(done, description, len(batches)) if description else done:
            vectors[rows] = pooled
        return vectors

    def _run(self, ids: Sequence[np.ndarray], batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows, vectors) of each batch.

        On a CPU, many batches run side by side, each on one core: that needs no barrier between cores inside an
        operator, so a core that is lent elsewhere delays one batch only.
        """

        @torch.inference_mode()
        def run(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            tokens = pad([ids[row] for row in rows], self.spec.pad_id)
            pooled = self.expert(*(tensor.to(self.device) for tensor in tokens))
            return rows, np.asarray(pooled.cpu().numpy())

        cores = torch.get_num_threads()
        if self.device.type == "cuda" or cores == 1 or len(batches) < 2 * cores:
            yield from map(run, batches)
            return
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(run, batches)
        torch.set_num_threads(cores)


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[np.ndarray]:
    """Row numbers in batches of similar length, longest first, each of at most `batch_tokens` after padding.

    A row longer than the budget has a batch of its own. Longest first: memory peaks at the start, and the progress
    shown does not slow down.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def pad(ids: Sequence[Sequence[int] | np.ndarray], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, int64 (B, T), padded on the right."""
    lengths = np.array([len(tokens) for tokens in ids])
    mask_BT = np.arange(lengths.max()) < lengths[:, None]
    tokens_BT = np.full(mask_BT.shape, pad_id, dtype=np.int64)
    tokens_BT[mask_BT] = np.concatenate([np.asarray(tokens, dtype=np.int64) for tokens in ids])
    return torch.from_numpy(tokens_BT), torch.from_numpy(mask_BT.astype(np.int64))
