"""The stage as pipeline steps, and the page each leaves."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_manifest
from components.marketplace import component
from tests.marketplace.logs.user_log import MARKETS, user_tables, write_tables
from tests.marketplace.small_world import AS_OF, SMALL


def outputs(tmp_path: Path) -> dict[str, SimpleNamespace]:
    return {
        "log": SimpleNamespace(path=str(tmp_path / "log"), metadata={}),
        "report": SimpleNamespace(path=str(tmp_path / "r.html")),
    }


def test_simulate_step(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"markets": ("TH",)}).structure
    component.simulate.python_func(config=config, as_of="2026-03-01T00:00:00Z", **outputs(tmp_path))
    assert read_manifest(tmp_path / "log")["as_of"] == AS_OF.isoformat()
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Simulated data" in page
    assert "Volumes by market and domain" in page
    assert "Click rate by position" in page
    title = pq.read_table(tmp_path / "log" / "judgments.parquet")["market"][0].as_py()
    assert title in page
    assert (tmp_path / "log" / "reports" / "marketplace.html").read_text(encoding="utf-8") == page


def test_load_step(tmp_path: Path) -> None:
    data = write_tables(user_tables(), tmp_path / "data")
    version, as_of = component.find_data.python_func(data=str(data), judgments="", as_of="2026-03-01", scheduled="")
    assert as_of == "2026-03-01T00:00:00+00:00"
    made = outputs(tmp_path)
    (end,) = component.load.python_func(
        data=str(data), judgments="", markets=list(MARKETS), as_of=as_of, version=version, config={}, **made
    )
    assert end == read_manifest(tmp_path / "log")["as_of"] == "2026-02-04T00:00:00+00:00", "windows end with the data"
    assert read_manifest(tmp_path / "log")["metrics"]["rows"]["candidates"] == 5
    assert made["log"].metadata["data_version"] == version
    assert made["log"].metadata["rows"]["candidates"] == 5
    assert made["log"].metadata["markets"] == list(MARKETS)
    assert "handed in" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_load_step_with_judgments_alone(tmp_path: Path) -> None:
    data = write_tables({"judgments": user_tables()["judgments"]}, tmp_path / "data")
    judgments = str(data / "judgments.parquet")
    version, as_of = component.find_data.python_func(data="", judgments=judgments, as_of="", scheduled="2026-03-01")
    (end,) = component.load.python_func(
        data="", judgments=judgments, markets=["ID", "TH"], as_of=as_of, version=version, config={}, **outputs(tmp_path)
    )
    assert end == as_of == "2026-03-01T00:00:00+00:00"
    assert not (tmp_path / "log" / "items.parquet").exists()
    assert "Judgments" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_data_that_changed_since_its_version_was_told_is_refused(tmp_path: Path) -> None:
    data = write_tables({"judgments": user_tables()["judgments"]}, tmp_path / "data")
    with pytest.raises(BadInput, match=r"changed since the run started .* run again"):
        component.load.python_func(
            data="",
            judgments=str(data),
            markets=["ID", "TH"],
            as_of="",
            version="0" * 64,
            config={},
            **outputs(tmp_path),
        )
    assert not (tmp_path / "log").exists()


def test_steps_run_in_the_data_image() -> None:
    for step in (component.simulate, component.find_data, component.load):
        container = step.pipeline_spec.deployment_spec["executors"].values()
        assert [executor["container"]["image"] for executor in container] == ["archipelago-data"]
