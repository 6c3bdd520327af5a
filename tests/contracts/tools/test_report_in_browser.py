"""Reports as they come out on a screen and on a phone."""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from components.contracts.tools.cells import Estimate
from components.contracts.tools.report import Section, Table, write_report
from tests.contracts.tools.browser import measure

pytestmark = pytest.mark.slow
SENTENCE = "relevance auc against the best single expert of the market: 0.8843 reaches its 0.8653 less 0.02"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all that is hard to set: many columns, long texts, many rows, several figures."""
    wide = pd.DataFrame(
        {"variant": ["mixture", "weighted_average"]}
        | {f"market number {n}": [Estimate(0.87, 0.83, 0.91), Estimate(0.8, 0.75, 0.84)] for n in range(12)}
    )
    long = pd.DataFrame({"market": ["TH"] * 40, "title": ["ลำโพงบลูทูธ ขนาดเล็ก ทนทาน 10W"] * 40, "why": [SENTENCE] * 40})
    names = ["a category with a long name", "another such category", "a third one", "and a fourth"]
    bars = [go.Figure(go.Bar(x=names, y=[1, 2, 3, 4])).update_layout(title="Bars " * 20) for _ in range(3)]
    path = tmp_path_factory.mktemp("page") / "page.html"
    sections = [Section("Tables", SENTENCE * 3, [Table(wide), Table(long)]), Section("Figures", figures=bars)]
    write_report(path, "A report with a title that is longer than a phone is wide", "Simulated data.", sections)
    return path


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_leaves_the_page_and_no_cell_has_three_lines(page: Path, tmp_path: Path, width: int) -> None:
    layout = measure(page, width, tmp_path)
    assert layout.width == width
    assert layout.page <= width and not layout.outside
    assert not layout.tall and not layout.clashes
    assert layout.cells == 2 * 13 + 40 * 3 and layout.figures >= 3


def test_the_measure_sees_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    table = (
        f"<table style='width:2000px'><tr><td style='width:60px'>{SENTENCE}</td><td style='width:1900px'></td></table>"
    )
    bad.write_text(f"<!doctype html><html><body>{table}</body></html>", encoding="utf-8")
    layout = measure(bad, 420, tmp_path)
    assert layout.page > 420 and layout.outside and layout.tall == [SENTENCE]


def test_the_measure_sees_labels_that_overlap(tmp_path: Path) -> None:
    axis = "<svg><g class=xaxislayer-above><text x=0 y=20>a long label</text><text x=10 y=20>another</text></g></svg>"
    (tmp_path / "bad.html").write_text(f"<!doctype html><html><body>{axis}</body></html>", encoding="utf-8")
    assert measure(tmp_path / "bad.html", 420, tmp_path).clashes == 1
