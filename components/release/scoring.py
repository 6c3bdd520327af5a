"""Offline batch scoring of a file of pairs, with a release's own experts through ONNX Runtime and without a server.

The file is read, scored and written a shard at a time: memory does not grow with it. Finished shards are kept beside
the target until all are there, so that a run that was interrupted goes on where it stopped.
"""

import hashlib
import importlib.util
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.lock import alone_in
from components.contracts.log import get_logger, track
from components.contracts.manifest import file_digest, input_digest, read_manifest
from components.contracts.schemas import Column, TableSchema
from components.contracts.tables import Limits, read_shards, write_table
from components.contracts.text import MAX_QUERY_CHARS, MAX_TITLE_CHARS
from components.release.export import open_session
from components.release.repository import VERSION, onnx_path
from components.relevance.ahead import prepared_ahead
from components.relevance.batch import BatchScorer, RawPairs, Scored
from components.relevance.encoder import length_batches, pad

logger = get_logger(__name__)

SHARD_ROWS = 16_384
_BATCH_TOKENS = 1024
PAIRS = TableSchema(
    "pairs",
    {
        "market": Column(pa.string(), is_market=True),
        "query": Column(pa.string(), max_chars=MAX_QUERY_CHARS),
        "title": Column(pa.string(), max_chars=MAX_TITLE_CHARS),
    },
)


class Scorer(Protocol):
    """What scores pairs: a release's own files, or a trained model's on a GPU."""

    @property
    def markets(self) -> Sequence[str]:
        """That it knows."""
        ...

    @property
    def digest(self) -> str:
        """Of all that its scores depend on."""
        ...

    def score_shards(self, shards: Iterable[RawPairs]) -> Iterator[Scored]:
        """Relevance and chosen experts of each shard of pairs, in order."""
        ...


class ReleaseScorer:
    """The release's `relevance` model in this process: its own code, text functions, tokenizers and ONNX files.

    Raises:
        BadInput: not a release.
    """

    def __init__(self, release: Path) -> None:
        self.markets: Sequence[str] = read_manifest(release)["markets"]
        self.digest = input_digest(release)
        self._repository = release / "triton"
        folder = self._repository / "relevance" / VERSION
        mixture, self._text = _load(folder / "mixture.py"), _load(folder / "text.py")
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        served = mixture.ServedMixture(folder, self._run, self._text)
        self._batch = BatchScorer(
            normalise_query=self._text.normalise_query,
            normalise_title=self._text.normalise_title,
            route=served.route,
            experts=[
                _OnnxExpert(expert, self._text, partial(self._session, expert.model)) for expert in served.experts
            ],
            fuse=self._fuse,
        )

    def score(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Scored:
        """Relevance float32 (n,) and chosen experts int64 (n, k), best first, of n >= 1 raw pairs."""
        return self._batch.score(markets, queries, titles)

    def score_shards(self, shards: Iterable[RawPairs]) -> Iterator[Scored]:
        """The same of each shard of pairs, in order."""
        return self._batch.score_shards(shards)

    def _session(self, model: str) -> onnxruntime.InferenceSession:
        # One core a call: batches run side by side, and none waits for another core inside an operator.
        if model not in self._sessions:
            self._sessions[model] = open_session(onnx_path(self._repository, model), threads=1)
        return self._sessions[model]

    def _run(self, model: str, feeds: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        return list(self._session(model).run(outputs, feeds))

    def _fuse(self, rooms: Sequence[np.ndarray], mask_nN: np.ndarray) -> np.ndarray:
        slots = {f"pooled_{place}": room_nD for place, room_nD in enumerate(rooms)}
        return self._run("fusion", {**slots, "mask": mask_nN}, ["relevance"])[0]


@dataclass(frozen=True)
class _PaddedBatch:
    """Rows of a piece, and their tokens, padded: ids and mask int64 (B, T)."""

    rows: np.ndarray
    ids_BT: np.ndarray
    mask_BT: np.ndarray


class _OnnxExpert:
    """An expert of the release on this machine's cores, behind the interface of batch scoring."""

    def __init__(self, expert: Any, text: ModuleType, session: partial[onnxruntime.InferenceSession]) -> None:
        self._expert = expert
        self._text = text
        self._session = session

    def open(self) -> None:
        self._session()

    def prepare(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> list[_PaddedBatch]:
        template = self._expert.template
        texts = [self._text.format_pair(template, *pair) for pair in zip(markets, queries, titles, strict=True)]
        ids = [encoding.ids for encoding in self._expert.tokenizer.encode_batch_fast(texts)]
        return [
            _PaddedBatch(batch, *(tensor.numpy() for tensor in pad([ids[row] for row in batch], self._expert.pad_id)))
            for batch in length_batches([len(tokens) for tokens in ids], _BATCH_TOKENS)
        ]

    def room(self, pairs: int) -> np.ndarray:
        return np.zeros((pairs, self._expert.dim), dtype=np.float32)

    def run(self, batches: list[_PaddedBatch], rows: np.ndarray, room: np.ndarray) -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for batch, pooled_BD in zip(batches, pool.map(self._pooled, batches), strict=True):
                room[rows[batch.rows]] = pooled_BD

    def _pooled(self, batch: _PaddedBatch) -> np.ndarray:
        feeds = {"input_ids": batch.ids_BT, "attention_mask": batch.mask_BT}
        return np.asarray(self._session().run(["pooled"], feeds)[0])


def score_file(scorer: Scorer, source: Path, out: Path, shard_rows: int = SHARD_ROWS) -> int:
    """Score the pairs of a file and write its columns with `relevance` and `experts` appended; the number of rows.

    Args:
        scorer: what scores.
        source: market, query, title (.parquet, .csv, .csv.gz); further columns are kept (a CSV file's as text). Checked
            whole before anything is scored.
        out: target Parquet file; finished shards wait in a folder beside it, which a later call for the same scorer
            and file takes up again, and which is gone in the end.
        shard_rows: rows that are read, scored and written at a time.

    Raises:
        BadInput: the file breaks the schema, or another run does the same work.
    """
    limits = Limits(scorer.markets)
    sizes = [shard.num_rows for shard in read_shards(source, PAIRS, limits, shard_rows)]
    parts = out.parent / f".{out.name}.{_work_key(scorer, source, shard_rows)}"
    parts.mkdir(parents=True, exist_ok=True)
    with alone_in(parts, f"{out}: another run is scoring these pairs into it; wait for it or stop it"):
        left = {number for number in range(len(sizes)) if not _part(parts, number).is_file()}
        if len(left) < len(sizes):
            logger.info("%d of %d shards were scored before", len(sizes) - len(left), len(sizes))
        shards = (shard for n, shard in enumerate(read_shards(source, PAIRS, limits, shard_rows)) if n in left)
        numbered = zip(sorted(left), _scored(scorer, shards), strict=True)
        # A shard is written while the next one is scored.
        for _ in track(prepared_ahead(partial(_write, parts), numbered), "score pairs", len(left)):
            pass
        whole = parts / "whole.parquet"
        _join([_part(parts, number) for number in range(len(sizes))], whole)
        whole.rename(out)
        shutil.rmtree(parts)
    return sum(sizes)


def _scored(scorer: Scorer, shards: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Each shard with its scores."""
    asked: deque[pa.Table] = deque()

    def pairs() -> Iterator[RawPairs]:
        for shard in shards:
            asked.append(shard)
            yield tuple(shard[name].to_pylist() for name in PAIRS.columns)

    for relevance, experts in scorer.score_shards(pairs()):
        shard = asked.popleft()
        kept = shard.select([name for name in shard.column_names if name not in ("relevance", "experts")])
        lists = pa.FixedSizeListArray.from_arrays(experts.ravel(), experts.shape[1]).cast(pa.list_(pa.int64()))
        yield kept.append_column("relevance", pa.array(relevance)).append_column("experts", lists)


def _write(parts: Path, numbered: tuple[int, pa.Table]) -> None:
    number, scored = numbered
    write_table(scored, _part(parts, number))


def _work_key(scorer: Scorer, source: Path, shard_rows: int) -> str:
    """Names the unfinished work: shards of another scorer, file or size are not its own."""
    parts = (scorer.digest, file_digest(source), str(shard_rows))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _part(parts: Path, number: int) -> Path:
    return parts / f"shard-{number:06d}.parquet"


def _join(parts: Sequence[Path], whole: Path) -> None:
    """One Parquet file of all shards."""
    with pq.ParquetWriter(whole, pq.read_schema(parts[0]), compression="zstd") as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


class _NoBytecode(SourceFileLoader):
    """Leaves nothing beside the source: a release's name is the digest of its content."""

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
