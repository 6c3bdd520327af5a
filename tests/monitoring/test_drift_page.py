"""The drift page: what it says of hard content, and that nothing of it is cut on a phone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.monitoring.config import MonitoringConfig
from components.monitoring.drift import PAGE, compare
from components.monitoring.names import plain_name
from tests.contracts.tools.browser import measure

LONG = "a-name-of-a-category-without-any-space-that-is-much-longer-than-a-phone-is-wide"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison in which a price, a long-named category and a label moved."""
    root = tmp_path_factory.mktemp("page")
    for name, factor, share in (("old", 1, 0.1), ("new", 1000, 0.5)):
        rng = np.random.default_rng(factor)
        table = pd.DataFrame(
            {
                "market": rng.choice(["TH", "VN"], 1500),
                "price_log": rng.lognormal(5, 1, 1500) * factor,
                "<b>category</b>": np.where(rng.random(1500) < share, LONG, "short"),
                "label": (rng.random(1500) < share) * 1,
            }
        )
        table.to_parquet(root / f"{name}.parquet")
    compare(root / "old.parquet", root / "new.parquet", MonitoringConfig(), root / "out")
    return root / "out" / PAGE


def test_the_page_says_what_moved_with_thresholds_beside_scores(page: Path) -> None:
    said = page.read_text(encoding="utf-8")
    assert len(said) < 4e6 and "<title>Drift: critical</title>" in said
    assert "price log (old): median" in said and "What to do: check the import, then the catalogue" in said
    assert "PSI" in said and "critical from 1<" in said and "critical from 0.1" in said
    assert "warning from" in said and 'href="evidently-TH.html"' in said
    assert "<b>category" not in said and "nan" not in said.lower().replace("finance", "")


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_is_cut(page: Path, tmp_path: Path, width: int) -> None:
    layout = measure(page, width, tmp_path)
    assert layout.page <= width and not layout.outside and not layout.tall
    assert layout.cells > 50


@pytest.mark.parametrize(
    ("column", "table", "said"),
    [
        ("user_clicks_7d", "", "user clicks in 7 days"),
        ("query_ctr_28d", "", "query click rate in 28 days"),
        ("items.price", "items", "price (items)"),
        ("requests.query (characters)", "requests", "query (characters) (requests)"),
        ("p_click", "", "chance of a click"),
    ],
)
def test_columns_have_plain_names(column: str, table: str, said: str) -> None:
    assert plain_name(column, table) == said
