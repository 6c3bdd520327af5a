"""Batch scoring with a release's own experts, through ONNX Runtime and without a server.

Shapes: n pairs, N experts, B pairs of a batch, T tokens, D width of an expert.
"""

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime

from components.contracts.tools.manifest import input_digest, read_manifest
from components.release.export import open_session
from components.release.repository import VERSION, onnx_path
from components.relevance.encoding.padded import length_batches, pad
from components.relevance.encoding.texts import CutCounts
from components.relevance.scoring.batch import BatchMixture, RawPairs, Scored

_MIXTURE_SOURCE, _TEXT_SOURCE = "mixture.py", "components/contracts/text.py"
_BATCH_TOKENS = 1024


class ReleaseScorer:
    """The release's `relevance` model in this process: its own code, text functions, tokenizers and ONNX files.

    Raises:
        BadInput: not a release.
    """

    def __init__(self, release: Path) -> None:
        self.markets: Sequence[str] = read_manifest(release)["markets"]
        self.digest = input_digest(release)
        self.cut = CutCounts()
        self._repository = release / "triton"
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        served, self._text = served_mixture(release, self._run, self.cut)
        self._batch = BatchMixture(
            normalise_query=self._text.normalise_query,
            normalise_title=self._text.normalise_title,
            route=served.route,
            experts=[_OnnxExpert(expert, partial(self._session, expert.model), self.cut) for expert in served.experts],
            lexical=served.lexical.logits,
            fuse=self._fuse,
        )

    def score(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Scored:
        """Relevance float32 (n,) and chosen experts int64 (n, k), best first, of n >= 1 raw pairs."""
        return self._batch.score(markets, queries, titles)

    def score_shards(self, shards: Iterable[RawPairs]) -> Iterator[Scored]:
        """The same of each shard of pairs, in order."""
        return self._batch.score_shards(shards)

    def _session(self, model: str) -> onnxruntime.InferenceSession:
        # One core per call: batches run side by side, and none waits for another core inside an operator.
        if model not in self._sessions:
            self._sessions[model] = open_session(onnx_path(self._repository, model), threads=1)
        return self._sessions[model]

    def _run(self, model: str, feeds: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        return list(self._session(model).run(outputs, feeds))

    def _fuse(self, buffers: Sequence[np.ndarray], mask_nN: np.ndarray, lexical_n: np.ndarray) -> np.ndarray:
        slots = {f"pooled_{slot}": buffer_nD for slot, buffer_nD in enumerate(buffers)}
        return self._run("fusion", {**slots, "mask": mask_nN, "lexical": lexical_n}, ["relevance"])[0]


@dataclass(frozen=True)
class _PaddedBatch:
    """Rows of a piece, and their tokens, padded: ids and mask int64 (B, T)."""

    rows: np.ndarray
    ids_BT: np.ndarray
    mask_BT: np.ndarray


class _OnnxExpert:
    """An expert of the release on this machine's cores, behind the interface of batch scoring."""

    def __init__(self, expert: Any, session: partial[onnxruntime.InferenceSession], count_cut: CutCounts) -> None:
        self._expert = expert
        self._session = session
        self._count_cut = count_cut

    def open(self) -> None:
        self._session()

    def prepare(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> list[_PaddedBatch]:
        tokens = self._expert.pairs.tokens(markets, queries, titles)
        self._count_cut(self._expert.model, markets, tokens.cut_R2)
        ids = tokens.lists()
        return [
            _PaddedBatch(batch, *(tensor.numpy() for tensor in pad([ids[row] for row in batch], self._expert.pad_id)))
            for batch in length_batches([len(tokens) for tokens in ids], _BATCH_TOKENS)
        ]

    def buffer(self, pairs: int) -> np.ndarray:
        return np.zeros((pairs, self._expert.dim), dtype=np.float32)

    def run(self, batches: list[_PaddedBatch], rows: np.ndarray, buffer: np.ndarray) -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for batch, pooled_BD in zip(batches, pool.map(self._pooled, batches), strict=True):
                buffer[rows[batch.rows]] = pooled_BD

    def _pooled(self, batch: _PaddedBatch) -> np.ndarray:
        feeds = {"input_ids": batch.ids_BT, "attention_mask": batch.mask_BT}
        return np.asarray(self._session().run(["pooled"], feeds)[0])


def served_mixture(release: Path, run: Callable[..., list[np.ndarray]], cut: CutCounts) -> tuple[Any, ModuleType]:
    """What a release's `relevance` model computes with, `ServedMixture` of its own mixture.py, and its text functions.

    `run` stands in for the server: (model name, {input: array}, [outputs]) -> list of arrays.
    """
    folder = release / "triton" / "relevance" / VERSION
    mixture, text = (_load(folder / name) for name in (_MIXTURE_SOURCE, _TEXT_SOURCE))
    return mixture.ServedMixture(folder, run, text, cut), text


class _NoBytecode(SourceFileLoader):
    """A loader that writes no bytecode beside the source: a release's name is the digest of its content."""

    def set_data(self, path: str, data: object, *, _mode: int = 0) -> None:
        """Drop the bytecode that would be written."""


def _load(path: Path) -> ModuleType:
    """A module of the release, under a name of its own: another release may hold another version."""
    name = f"archipelago_release_{path.stem}"
    loader = _NoBytecode(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
