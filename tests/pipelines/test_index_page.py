"""The page that links all reports of a run, and the commands a run ends with."""

import re
import shlex
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.tools.manifest import write_manifest
from components.release.conclusions import conclusions
from pipelines.index_page import REPORTS, kind, write_index
from pipelines.next_steps import look_first, try_next
from serving.retrieval import retrieve
from tests.contracts.tools.browser import measure
from tests.pipelines.run_summary import gate, summary
from tests.serving.faults.faulty import reseal


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A run's folder with empty reports, and its summary."""
    out = tmp_path / "runs" / "x"
    (out / "reports").mkdir(parents=True)
    reports = {name: out / "reports" / f"{name}.html" for name in [*REPORTS, "evidently-TH"] if name != "index"}
    for path in reports.values():
        path.write_text("<html></html>")
    return out, summary(reports={name: str(path) for name, path in reports.items()})


def release_of(folder: Path, search: bool) -> Path:
    release = folder / "releases" / "0123456789ab"
    (release / "golden").mkdir(parents=True)
    kind = "search-release" if search else "relevance-release"
    write_manifest(release, kind, {}, {}, markets=["TH"], experts=[])
    catalogue = {"item_id": ["I1"], "market": ["TH"], "title": ["ลำโพงบลูทูธ ขนาดเล็ก"], "price": [120.0]}
    pq.write_table(pa.table(catalogue), release / "catalogue.parquet")
    if search:
        asked = {"market": ["TH", "TH"], "user_id": ["U 1", "U2"], "query": ["nothing like it", "ลำโพง 'ดี'"]}
        pq.write_table(pa.table(asked), release / "golden" / "search.parquet")
    reseal(release)
    return release


def test_every_link_leads_to_a_report_and_says_what_it_shows(run: tuple[Path, dict[str, Any]]) -> None:
    out, content = run
    page = write_index(content, out).read_text(encoding="utf-8")
    links = re.findall(r'<a href="([^"]+)">([^<]+)</a>: ([^<]+)</li>', page)
    assert [name for _, name, _ in links] == list(content["reports"])
    assert all((out / target).is_file() for target, _, _ in links), "links are relative to the page"
    assert all(unescape(said) == REPORTS[kind(name)] for _, name, said in links)


def test_figures_and_conclusions_stand_on_the_page(run: tuple[Path, dict[str, Any]]) -> None:
    out, content = run
    page = unescape(write_index(content, out).read_text(encoding="utf-8"))
    assert all(sentence in page for sentence in conclusions(content))
    assert "Logged data" in page and "up to 2026-01-01" in page
    assert "0.700<br><small>0.690 to 0.710</small>" in page
    assert "+0.42<br><small>-0.10 to +0.94</small>" in page


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_a_screen_and_a_phone(run: tuple[Path, dict[str, Any]], tmp_path: Path, width: int) -> None:
    out, content = run
    release = release_of(out / "a folder with a name so long that no phone shows it", search=True)
    layout = measure(
        write_index(content | {"release": {"path": str(release), "digest": release.name}}, out), width, tmp_path
    )
    assert layout.page <= width and not layout.outside and not layout.tall


def test_a_run_of_judgments_alone_has_no_ranking(run: tuple[Path, dict[str, Any]]) -> None:
    out, content = run
    alone = {"ranking": None, "baseline": None, "serving": None, "as_of": None}
    page = write_index(content | alone, out).read_text(encoding="utf-8")
    assert "<h2>Relevance</h2>" in page and "<h2>Ranking</h2>" not in page


def test_the_query_to_try_finds_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(sys.executable).with_name("archipelago"))])
    release = release_of(tmp_path / "a run", search=True)
    serve, query = try_next(summary(release={"path": str(release)}))
    assert shlex.split(serve)[1:] == ["serve", str(release)]
    words = shlex.split(query)
    assert Path(words[0]).name == "archipelago"
    assert words[1:] == ["query", "--market", "TH", "--user", "U2", "ลำโพง 'ดี'"]
    assert retrieve(release, "TH", words[-1], 1)


def test_a_relevance_release_is_scored_with(tmp_path: Path) -> None:
    release = release_of(tmp_path, search=False)
    serve, score = try_next(summary(release={"path": str(release)}))
    assert "serve" in serve
    pairs = str(release / "golden" / "relevance.parquet")
    assert shlex.split(score)[1:] == ["score", "--release", str(release), "--in", pairs, "--out", "scores.parquet"]


def test_three_pages_to_look_at_first() -> None:
    assert len(look_first(summary())) == 3
    reports = {name: f"{name}.html" for name in ("index", "relevance", "gate")}
    assert look_first(summary(reports=reports)) == ["index.html", "relevance.html", "gate.html"]
    assert look_first(summary(gate=gate(False)))[1].endswith("gate.html")
