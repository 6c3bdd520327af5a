"""The stage's output directory: files, figures, report, manifest, and its KFP component."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from components.contracts.schemas import SAMPLES
from components.contracts.tables import Limits, read_table
from components.contracts.tools.manifest import input_digest, read_manifest, tree_digest
from components.samples import component
from components.samples.build import build_samples
from components.samples.config import SamplesConfig
from tests.samples.hand_log import AS_OF, DAYS, HandLog, day


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two searches of four candidates, two shown, one clicked; an attributed and a searchified click."""
    log = HandLog()
    first = log.search(day(-12), "a b c d", exposed=2)
    log.search(day(-11), "a b c d", exposed=2)
    log.event("click", "a", day(-12, hours=1), request=first)
    log.event("click", "d", day(-11, hours=1), request=log.browse(day(-11, hours=1, seconds=-5), "d x y"))
    log.event("click", "x", day(-10), request=log.browse(day(-10, seconds=-5), "x y z", domain="shop"))
    return log.write(tmp_path_factory.mktemp("hand"))


@pytest.fixture(scope="module")
def built(paths: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "samples"
    build_samples(*paths, SamplesConfig(**DAYS, unexposed_per_exposed=0.5), AS_OF, out)
    return out


def test_volumes_count_each_step(built: Path) -> None:
    volumes = json.loads((built / "volumes.json").read_text())
    steps = {name: [step[k] for k in ("rows", "requests", "clicks")] for name, step in volumes["steps"].items()}
    assert steps == {
        "exposed only": [4, 2, 1],
        "+ unexposed": [6, 2, 1],
        "+ attribution": [7, 2, 2],
        "+ searchification": [10, 3, 3],
    }
    assert volumes["steps"]["+ searchification"]["rows_ratio"] == 2.5
    assert volumes["events"]["click"] == {"attributed": 1, "searchified": 1}
    assert volumes["tiers"]["click"] == {"unexposed": 1}
    assert volumes["query_sources"] == {"nearest": 1}
    assert volumes["simulated"] is True
    assert sum(group["rows"] for group in volumes["by_split"]) == 12
    assert volumes["leak"]["native exposed"]["scored_share_of_negatives"] == 1
    # No stored score answers the pseudo query: as yet only candidates of real searches are scored.
    assert volumes["leak"]["pseudo"]["scored_share_of_positives"] == 0


def test_directory_keeps_its_contract(built: Path, paths: tuple[Path, Path, Path]) -> None:
    rows = read_table(built / "samples.parquet", SAMPLES, Limits(as_of=AS_OF))
    assert rows.num_rows == 12
    manifest = read_manifest(built)
    assert manifest["kind"] == "samples"
    assert manifest["digest"] == tree_digest(built)
    assert manifest["inputs"] == {
        name: input_digest(path) for name, path in zip(("log", "scores", "encodings"), paths, strict=True)
    }
    assert manifest["run"]["seconds"] > 0
    page = (built / "reports" / "samples.html").read_text()
    assert "Measured on a simulated log" in page
    assert page.count("Plotly.newPlot(") >= 5


def test_component_gives_the_same_directory(built: Path, paths: tuple[Path, Path, Path], tmp_path: Path) -> None:
    log, scores, encodings = (SimpleNamespace(path=str(path)) for path in paths)
    logged: dict[str, float] = {}
    component.build_samples.python_func(
        log=log,
        scores=scores,
        encodings=encodings,
        config=SamplesConfig(**DAYS, unexposed_per_exposed=0.5).structure,
        as_of=AS_OF.isoformat(),
        samples=SimpleNamespace(path=str(tmp_path / "samples"), metadata={}),
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        report=SimpleNamespace(path=str(tmp_path / "report.html")),
    )
    assert read_manifest(tmp_path / "samples")["digest"] == read_manifest(built)["digest"]
    assert pq.read_table(tmp_path / "samples" / "samples.parquet").equals(pq.read_table(built / "samples.parquet"))
    assert logged["rows + searchification"] == 2.5
    assert (tmp_path / "report.html").stat().st_size > 1_000_000


def test_a_log_of_searches_alone_works(tmp_path: Path) -> None:
    log = HandLog()
    log.search(day(-12), "a b c", exposed=1)
    build_samples(*log.write(tmp_path), SamplesConfig(**DAYS), AS_OF, tmp_path / "samples")
    volumes = json.loads((tmp_path / "samples" / "volumes.json").read_text())
    assert volumes["steps"]["+ searchification"]["rows"] == 3
    assert volumes["leak"]["pseudo"]["relevance_auc"] is None
