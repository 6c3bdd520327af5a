"""Batch scoring of a file of pairs, by whatever scores pairs.

The file is read, scored and written a shard at a time: memory does not grow with it. Finished shards are kept beside
the target until all are there, so that a run that was interrupted goes on where it stopped.
"""

import hashlib
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.schemas import QUERY, TITLE, Column, TableSchema
from components.contracts.tables import Limits, read_shards, write_table
from components.contracts.tools.lock import alone_in
from components.contracts.tools.log import get_logger, track
from components.contracts.tools.manifest import file_digest
from components.relevance.ahead import prepared_ahead
from components.relevance.encoding.texts import CutCounts
from components.relevance.scoring.batch import RawPairs, Scored

_logger = get_logger(__name__)

SHARD_ROWS = 16_384
PAIRS = TableSchema(
    "pairs",
    {
        "market": Column(pa.string(), is_market=True),
        "query": QUERY,
        "title": TITLE,
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

    @property
    def cut(self) -> CutCounts:
        """What was too long for its experts so far."""
        ...

    def score_shards(self, shards: Iterable[RawPairs]) -> Iterator[Scored]:
        """Relevance and chosen experts of each shard of pairs, in order."""
        ...


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
            _logger.info("%d of %d shards were scored before", len(sizes) - len(left), len(sizes))
        shards = (shard for n, shard in enumerate(read_shards(source, PAIRS, limits, shard_rows)) if n in left)
        numbered = zip(sorted(left), _scored(scorer, shards), strict=True)
        # A shard is written while the next one is scored.
        for _ in track(prepared_ahead(partial(_write, parts), numbered), "score pairs", len(left)):
            pass
        whole = parts / "whole.parquet"
        _join([_part(parts, number) for number in range(len(sizes))], whole)
        whole.rename(out)
        shutil.rmtree(parts)
    _logger.info("too long for an expert, and cut: %s", scorer.cut)
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
