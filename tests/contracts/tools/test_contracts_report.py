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
from components.contracts.tools.log import configure, get_logger, track
from components.contracts.tools.report import Section, write_report


def write(path: Path) -> str:
    sections = [
        Section("Prices <b>", "a < b & c", [pd.DataFrame({"market": ["<i>"], "auc": [0.123456]})]),
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
    assert "0.1235" in page
    assert page.count('class="plotly-graph-div"') == 2
    assert "http" not in page.replace(get_plotlyjs(), ""), "no network is needed"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["page.html"]


def test_the_same_content_is_the_same_page(tmp_path: Path) -> None:
    assert write(tmp_path / "one.html") == write(tmp_path / "two.html")


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
