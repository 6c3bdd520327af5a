"""Pages for people, configuration and logging."""

import logging
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from pydantic import ValidationError

from components.contracts.config import StageConfig
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.cells import Estimate
from components.contracts.tools.log import configure, get_logger, track
from components.contracts.tools.report import Section, Table, html_table, write_report


def write(path: Path) -> str:
    sections = [
        Section("Prices <b>", "a < b & c", [Table(pd.DataFrame({"market": ["<i>"], "auc": [0.123456]}))]),
        Section("Clicks", figures=[go.Figure(go.Bar(x=["a"], y=[1])), go.Figure(go.Bar(x=["a"], y=[2]))]),
    ]
    write_report(path, "Title & more", "Simulated data", sections)
    return path.read_text(encoding="utf-8")


def test_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    page = write(tmp_path / "deep" / "page.html")
    assert "<h1>Title &amp; more</h1>" in page
    assert "Simulated data" in page
    assert "Prices &lt;b&gt;" in page
    assert "a &lt; b &amp; c" in page
    assert "&lt;i&gt;" in page
    assert "<td>&lt;i&gt;</td><td class=n>0.123</td>" in page, "text on the left, numbers on the right"
    assert page.count('class="plotly-graph-div"') == 2
    assert "http" not in page.replace(get_plotlyjs(), ""), "no network is needed"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["page.html"]


def test_labels_of_a_figure_are_text(tmp_path: Path) -> None:
    bar = go.Bar(x=["<a href='http://x'>sale</a>", "two<br>lines"], y=[1, 2], name="<b>brand</b>")
    write_report(tmp_path / "page.html", "t", "n", [Section("s", figures=[go.Figure(bar)])])
    page = (tmp_path / "page.html").read_text(encoding="utf-8").replace(get_plotlyjs(), "")
    assert "&lt;a href" in page or "\\u0026lt;a href" in page
    assert "\\u003ca href" not in page and "<a href" not in page
    assert "\\u003cb\\u003e" not in page and "<b>brand" not in page
    assert "two\\u003cbr\\u003elines" in page


def test_the_same_content_is_the_same_page(tmp_path: Path) -> None:
    assert write(tmp_path / "one.html") == write(tmp_path / "two.html")


def test_a_page_without_figures_carries_no_script(tmp_path: Path) -> None:
    write_report(
        tmp_path / "page.html", "Gate passed", "", [Section("Checks", tables=[Table(pd.DataFrame({"n": [1]}))])]
    )
    assert (tmp_path / "page.html").stat().st_size < 10_000


@pytest.mark.parametrize(("rows", "folded"), [(12, False), (13, True)])
def test_a_long_table_is_folded(rows: int, folded: bool) -> None:
    table = html_table(Table(pd.DataFrame({"n": range(rows)})))
    assert table.startswith("<details>" if folded else "<div class=table>") and table.count("<tr>") == rows + 1


def test_columns_are_set_by_what_they_hold() -> None:
    frame = pd.DataFrame(
        {
            "share_relevant": [0.345, None],
            "gain": [Estimate(0.0123, 0.001, 0.02), None],
            "seen": [True, False],
            "mixed": [1, "one"],
            "absent": [None, None],
        }
    )
    table = html_table(Table(frame, {"share_relevant": "percent", "gain": "points"}))
    assert ">share relevant</th>" in table
    assert "<td class=n>34.5 %</td>" in table and "<td class=n>–</td>" in table
    assert "<td class=n>+1.23<br><small>+0.10 to +2.00</small></td>" in table
    assert "<td>yes</td>" in table and "<td>one</td>" in table and "<td>1</td>" in table
    assert html_table(Table(pd.DataFrame({"n": []}))) == ""


class Toy(StageConfig):
    """A stage's configuration."""

    width: int = 3


def test_configuration_is_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="widht"):
        Toy.model_validate({"widht": 4})
    with pytest.raises(ValidationError, match="frozen"):
        Toy().width = 5  # type: ignore[misc]
    assert Toy.model_validate_json(Toy(width=9).model_dump_json()).width == 9


def test_progress_passes_everything_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(track(range(20), "work", 20)) == list(range(20))
    assert "work: 20/20" in caplog.text
    assert list(track([], "nothing", 0)) == []


def test_level_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        monkeypatch.setenv("ARCHIPELAGO_LOG", "ERROR")
        configure()
        assert get_logger("archipelago.test").getEffectiveLevel() == logging.ERROR
        configure("DEBUG")
        assert get_logger("archipelago.test").getEffectiveLevel() == logging.DEBUG
    finally:
        root.handlers[:], root.level = handlers, level


def test_cache_lies_where_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIPELAGO_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    assert (tmp_path / "here").is_dir()
