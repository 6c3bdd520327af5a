"""Offline scoring of files: the same scores in any order, shard and format; refusals; going on after a kill."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.releases import file_digests, release_digest
from components.release import onnx_scoring
from components.release.onnx_scoring import ReleaseScorer
from components.relevance.scoring import files
from components.relevance.scoring.files import score_file
from tests.release.tiny_release import Tiny


@pytest.fixture(scope="module")
def pairs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden pairs of a release several times over, shuffled, some of them written otherwise."""
    golden = pq.read_table(tiny.search / "golden" / "relevance.parquet").to_pandas()
    many = pd.concat([golden] * 4, ignore_index=True).sample(frac=1, random_state=0, ignore_index=True)
    many.loc[::3, "query"] = "  " + many.loc[::3, "query"].str.upper() + " "
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    many.rename(columns={"relevance": "expected", "experts": "expected_experts"}).to_parquet(path, row_group_size=7)
    return path


def check(scores: Path, rows: int) -> None:
    found = pq.read_table(scores).to_pandas()
    assert len(found) == rows
    np.testing.assert_allclose(found["relevance"], found["expected"], atol=1e-5)
    assert [list(x) for x in found["experts"]] == [list(x) for x in found["expected_experts"]]


@pytest.mark.parametrize("shard_rows", [5, 16_384])
def test_scores_equal_the_golden_ones_in_any_shard(tiny: Tiny, pairs: Path, tmp_path: Path, shard_rows: int) -> None:
    rows = pq.read_metadata(pairs).num_rows
    assert score_file(ReleaseScorer(tiny.search), pairs, tmp_path / "scores.parquet", shard_rows) == rows
    check(tmp_path / "scores.parquet", rows)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]
    assert release_digest(file_digests(tiny.search))[:12] == tiny.search.name  # reading a release adds nothing to it


def test_a_csv_file_has_the_same_scores(tiny: Tiny, pairs: Path, tmp_path: Path) -> None:
    plain = pq.read_table(pairs, columns=["market", "query", "title"])
    with pa.CompressedOutputStream(tmp_path / "pairs.csv.gz", "gzip") as file:
        pa_csv.write_csv(plain, file)
    score_file(ReleaseScorer(tiny.search), tmp_path / "pairs.csv.gz", tmp_path / "scores.parquet", 9)
    expected = pq.read_table(pairs)["expected"].to_numpy()
    np.testing.assert_allclose(pq.read_table(tmp_path / "scores.parquet")["relevance"], expected, atol=1e-5)


def test_columns_of_a_csv_file_that_nobody_declared_stay_what_they_say(tiny: Tiny, tmp_path: Path) -> None:
    """A stream's types come from its first block: a code that looks like a number there may not be one later."""
    notes = [f"{number:05d}" for number in range(70_000)] + ["n/a"]
    rows = "".join(f"ID,sepatu,tas,{note}\n" for note in notes)
    (tmp_path / "pairs.csv").write_text(f"market,query,title,note\n{rows}")
    score_file(ReleaseScorer(tiny.search), tmp_path / "pairs.csv", tmp_path / "scores.parquet")
    assert pq.read_table(tmp_path / "scores.parquet")["note"].to_pylist() == notes


def test_a_pair_is_scored_once(tiny: Tiny, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run = onnx_scoring._OnnxExpert.run

    def counted(self, batches, rows, buffer):
        ran.append(len(rows))
        run(self, batches, rows, buffer)

    monkeypatch.setattr(onnx_scoring._OnnxExpert, "run", counted)
    score_file(ReleaseScorer(tiny.search), pairs, tmp_path / "scores.parquet")
    golden = pq.read_metadata(tiny.search / "golden" / "relevance.parquet").num_rows
    assert sum(ran) == 2 * golden, "two experts a pair, each distinct pair once"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("market,query,title\nXX,a,b\n", r"pairs\.csv: column market: not one of ID, TH in 1 of 1 rows"),
        ("market,query\nID,a\n", r"pairs\.csv: missing column title in 1 rows"),
        ("market,query,title\n", r"pairs\.csv: empty, 0 rows"),
        ("market,query,title\nID,a,b\nID,c,d\nID, ,f\n", r"pairs\.csv \(from row 2\): column query: blank"),
        ("market,query,title\n" + f"ID,{'x' * 10_000},b\n", "longer than 512 characters"),
    ],
)
def test_bad_pairs_are_refused_and_nothing_is_left(tiny: Tiny, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(BadInput, match=says):
        score_file(ReleaseScorer(tiny.search), tmp_path / "pairs.csv", tmp_path / "out" / "scores.parquet", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_a_truncated_file_is_refused(tiny: Tiny, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(pairs.read_bytes()[:-200])
    with pytest.raises(BadInput, match=r"cut\.parquet: not a readable Parquet file"):
        score_file(ReleaseScorer(tiny.search), tmp_path / "cut.parquet", tmp_path / "scores.parquet")


SLOW_SCORING = """
import sys, time
from pathlib import Path
from components.release.onnx_scoring import ReleaseScorer
from components.relevance.scoring import files
write = files._write
def slowly(*arguments):
    time.sleep(0.3)
    write(*arguments)
files._write = slowly
files.score_file(ReleaseScorer(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), 5)
"""


def test_a_second_run_is_refused_and_a_killed_one_goes_on_where_it_stopped(
    tiny: Tiny, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scores.parquet"
    child = subprocess.Popen([sys.executable, "-c", SLOW_SCORING, tiny.search, pairs, out])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".scores.parquet.*/shard-000001.parquet")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(BadInput, match=r"scores\.parquet: another run is scoring these pairs into it"):
        score_file(ReleaseScorer(tiny.search), pairs, out, 5)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not out.exists()
    kept = len(list(tmp_path.glob(".scores.parquet.*/shard-*.parquet")))

    rows = pq.read_metadata(pairs).num_rows
    shards = -(-rows // 5)
    assert 2 <= kept < shards
    calls: list[int] = []
    write = files._write
    monkeypatch.setattr(files, "_write", lambda *a: (calls.append(1), write(*a))[1])
    assert score_file(ReleaseScorer(tiny.search), pairs, out, 5) == rows
    assert len(calls) == shards - kept
    check(out, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


SCORE_WITH_ZEROS = """
import sys
from pathlib import Path
import numpy as np
from components.relevance.scoring.files import score_file
class Zeros:
    markets, digest, cut = ("ID",), "zeros", "none"
    def score_shards(self, shards):
        for _, _, titles in shards:
            yield np.zeros(len(titles), dtype=np.float32), np.zeros((len(titles), 2), dtype=np.int64)
rows = score_file(Zeros(), Path(sys.argv[1]), Path(sys.argv[2]), 8192)
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(rows, peak)
"""


def bytes_and_peak(folder: Path, row_group: int, rows: int) -> tuple[int, int]:
    """Of a file of so many pairs: its size in memory, and the peak of a process that scores it.

    The peak is VmHWM, which begins anew in a child. `ru_maxrss` would begin at the peak of this very process. Large
    allocations are given back when they are freed, so that the peak is what was held, not an allocator's habit.
    """
    environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": "65536"}
    text = random.Random(rows).randbytes(100 * rows).hex()
    columns = {
        "market": ["ID"] * rows,
        "query": [f"query {row}" for row in range(rows)],
        "title": [text[200 * row : 200 * (row + 1)] for row in range(rows)],
    }
    table, source = pa.table(columns), folder / f"{rows}.parquet"
    pq.write_table(table, source, row_group_size=row_group, use_dictionary=False)
    command = [sys.executable, "-c", SCORE_WITH_ZEROS, str(source), str(folder / "scores" / f"{rows}.parquet")]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    scored, peak = done.stdout.split()
    assert int(scored) == rows
    return table.nbytes, 1024 * int(peak)


@pytest.mark.parametrize("row_group", [10_000, 1_000_000])
def test_memory_does_not_grow_with_the_file(row_group: int) -> None:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        (small, low), (large, high) = pool.map(partial(bytes_and_peak, Path(folder), row_group), (150_000, 600_000))
    assert high - low < (large - small) / 4
