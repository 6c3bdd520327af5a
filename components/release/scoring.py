"""Offline batch scoring of pairs with a release's own experts, through ONNX Runtime and without a server."""

import importlib.util
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pyarrow as pa

from components.contracts.log import get_logger, track
from components.contracts.manifest import read_manifest
from components.contracts.schemas import Column, TableSchema
from components.contracts.tables import Limits, read_table, write_table
from components.contracts.text import MAX_QUERY_CHARS, MAX_TITLE_CHARS
from components.release.export import open_session
from components.release.repository import VERSION, onnx_path

logger = get_logger(__name__)

_SLICE = 1000
PAIRS = TableSchema(
    "pairs",
    {
        "market": Column(pa.string(), is_market=True),
        "query": Column(pa.string(), max_chars=MAX_QUERY_CHARS),
        "title": Column(pa.string(), max_chars=MAX_TITLE_CHARS),
    },
)


class ReleaseScorer:
    """The release's `relevance` model in this process: its own code, text functions, tokenizers and ONNX files."""

    def __init__(self, release: Path) -> None:
        self._repository = release / "triton"
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        folder = self._repository / "relevance" / VERSION
        mixture, text = _load(folder / "mixture.py"), _load(folder / "text.py")
        self._mixture = mixture.ServedMixture(folder, self._run, text)

    def score(
        self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Relevance float32 (n,) and chosen experts int64 (n, k), best first, of n pairs."""
        relevance, experts = self._mixture.score(list(markets), list(queries), list(titles))
        return relevance, experts

    def _run(self, model: str, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        if model not in self._sessions:
            self._sessions[model] = open_session(onnx_path(self._repository, model))
        return list(self._sessions[model].run(outputs, dict(feeds)))


def score_file(release: Path, source: Path, out: Path) -> int:
    """Score the pairs of a file and write its columns with `relevance` and `experts` appended; the number of rows.

    Args:
        release: a release folder.
        source: market, query, title (.parquet, .csv, .csv.gz); further columns are kept.
        out: target Parquet file.

    Raises:
        BadInput: not a release, or the file breaks the schema.
    """
    markets = read_manifest(release)["markets"]
    table = read_table(source, PAIRS, Limits(markets))
    scorer = ReleaseScorer(release)
    starts = range(0, table.num_rows, _SLICE)
    parts = []
    for start in track(starts, "score pairs", len(starts)):
        part = table.slice(start, _SLICE)
        parts.append(scorer.score(*(part[name].to_pylist() for name in PAIRS.columns)))
    relevance, experts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    kept = [name for name in table.column_names if name not in ("relevance", "experts")]
    scored = table.select(kept).append_column("relevance", pa.array(relevance))
    write_table(scored.append_column("experts", pa.array(experts.tolist(), pa.list_(pa.int64()))), out)
    return int(table.num_rows)


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
