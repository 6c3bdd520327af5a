"""Embeddings on disk between runs: append-only shards of (key, vector), one folder per expert and way of reading.

Losing the folder, or a shard, only costs time; two runs at once write shards of different names.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import atomic_directory

_logger = get_logger(__name__)


class EmbeddingCache:
    """Vectors of texts by (expert's digest, how its tokens are pooled and cut) and text.

    Args:
        root: the folder of all caches.
        identity: what a vector depends on besides its text; any strings.
        dim: width of a vector.
        part: texts that are computed and stored together.
    """

    def __init__(self, root: Path, identity: Sequence[str], dim: int, part: int = 2048) -> None:
        self.folder = root / hashlib.sha256("\0".join(identity).encode()).hexdigest()[:24]
        self.dim = dim
        self.part = part

    def lookup(self, texts: Sequence[str], compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """float32 (n, dim) of n texts; what is not stored is computed once per distinct text, and stored.

        `compute` is called with the row numbers of up to `part` texts at a time.
        """
        wanted, inverse = np.unique(_keys(texts), return_inverse=True)
        first = np.full(len(wanted), len(texts))
        np.minimum.at(first, inverse, np.arange(len(texts)))
        vectors = np.empty((len(wanted), self.dim), dtype=np.float32)
        known = np.zeros(len(wanted), dtype=bool)
        for keys, stored in self._shards():
            index = np.searchsorted(wanted, keys).clip(max=len(wanted) - 1)
            hit = wanted[index] == keys
            vectors[index[hit]] = stored[hit]
            known[index[hit]] = True
        _logger.info("embedding cache: %d of %d texts are stored", known.sum(), len(wanted))
        missing = np.flatnonzero(~known)
        # In the texts' own order, one part at a time: a run that is interrupted keeps what it has.
        missing = missing[np.argsort(first[missing])]
        for start in range(0, len(missing), self.part):
            rows = missing[start : start + self.part]
            vectors[rows] = compute(first[rows])
            self._append(wanted[rows], vectors[rows])
        return vectors[inverse]

    def _shards(self) -> list[tuple[np.ndarray, np.ndarray]]:
        shards = []
        for folder in sorted(self.folder.glob("shard-*")):
            try:
                keys, vectors = np.load(folder / "keys.npy"), np.load(folder / "vectors.npy", mmap_mode="r")
            except (OSError, ValueError, EOFError):
                _logger.warning("embedding cache: %s is damaged and left out", folder)
                continue
            if vectors.shape == (len(keys), self.dim):
                shards.append((keys, vectors))
        return shards

    def _append(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:16]
        with atomic_directory(self.folder / f"shard-{name}") as staging:
            np.save(staging / "keys.npy", keys)
            np.save(staging / "vectors.npy", vectors)


def _keys(texts: Sequence[str]) -> np.ndarray:
    """Digests of the texts, as 32 hexadecimal bytes."""
    return np.array([hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in texts], dtype="S32")
