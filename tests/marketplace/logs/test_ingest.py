"""Published layouts become judgments and a profile."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from components.contracts.errors import BadInput
from components.contracts.schemas import JUDGMENTS
from components.contracts.tables import Limits, read_table
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import read_manifest, tree_digest
from components.marketplace.logs.ingest import FORMATS, ingest
from components.marketplace.logs.load import load_judgments

ROWS = """task,language,origin_query,category_path,label
QC,es,Hanma Yujiro,"phones,cases",1
QC,es,hanma  yujiro,"phones,cases",1
QC,es,Hanma Yujiro,"phones,cases",1
QC,de,hanma yujiro,"phones,cases",0
QC,es,,"phones,cases",1
QC,es,  ,"phones,cases",1
QC,ja,ドラクエ バッグ,"bags,waist packs",1
QC,ja,ドラクエ　バッグ,"bags,waist packs",0
QC,ja,nan,"bags,waist packs",1
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def test_analyticup_rows_become_judgments(source: Path, tmp_path: Path) -> None:
    ingest("analyticup", source, tmp_path / "out")
    table = read_table(tmp_path / "out" / "judgments.parquet", JUDGMENTS, Limits(["DE", "ES", "JA"])).to_pandas()
    rows = {(row.market, normalise_query(row.query), row.title): row.grade for row in table.itertuples()}
    assert rows == {
        ("ES", "hanma yujiro", "phones,cases"): 1.0,
        ("DE", "hanma yujiro", "phones,cases"): 0.0,
        ("JA", "ドラクエ バッグ", "bags,waist packs"): 0.5,
        ("JA", "nan", "bags,waist packs"): 1.0,
    }
    assert table.groupby(["market", "title"])["item_id"].nunique().eq(1).all(), "an item is its text in a market"
    assert table["item_id"].nunique() == 3
    assert table["query_id"].nunique() == 4, "the same words in two markets are two queries"
    assert table["language"].tolist() == ["es", "de", "ja", "ja"]


def test_what_was_dropped_is_counted(source: Path, tmp_path: Path) -> None:
    ingest("analyticup", source, tmp_path / "out")
    assert read_manifest(tmp_path / "out")["metrics"] == {
        "rows": 9,
        "blank_queries": 2,
        "duplicates": 2,
        "conflicting_labels": 1,
        "judgments": 4,
    }


def test_profile_names_the_markets(source: Path, tmp_path: Path) -> None:
    ingest("analyticup", source, tmp_path / "out")
    profile = yaml.safe_load((tmp_path / "out" / "profile.yaml").read_text())
    assert profile == {"extends": "laptop", "markets": ["DE", "ES", "JA"]}


def test_ingested_judgments_load(source: Path, tmp_path: Path) -> None:
    ingest("analyticup", source, tmp_path / "out")
    load_judgments(tmp_path / "out" / "judgments.parquet", ["DE", "ES", "JA"], tmp_path / "log")


def test_ingestion_repeats_itself(source: Path, tmp_path: Path) -> None:
    ingest("analyticup", source, tmp_path / "one")
    ingest("analyticup", source, tmp_path / "two")
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (ROWS.replace("origin_query", "query"), "missing column origin_query in 9 rows"),
        (ROWS.splitlines()[0] + "\n", "empty, 0 rows"),
        (ROWS.replace(",0\nQC,ja,nan", ",2\nQC,ja,nan"), "above 1 in 1 of 9 rows"),
        (ROWS.splitlines()[0] + "\nQC,es, ,x,1\n", "column origin_query: blank in all 1 rows"),
        (ROWS.splitlines()[0] + f"\nQC,es,{'x' * 600},x,1\n", "longer than 512 characters in 1 of 1 rows"),
    ],
)  # fmt: skip
def test_other_layouts_are_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=says):
        ingest("analyticup", tmp_path / "train.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_stands_for_the_labelled_file_in_it(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    with pytest.raises(BadInput, match="no file train"):
        ingest("analyticup", folder, tmp_path / "out")
    shutil.copy(source, folder / "train.csv")
    ingest("analyticup", folder, tmp_path / "out")
    ingest("analyticup", source, tmp_path / "file")
    assert (tmp_path / "out" / "judgments.parquet").read_bytes() == (
        tmp_path / "file" / "judgments.parquet"
    ).read_bytes()


def test_unknown_format_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown format 'trec'; known: analyticup, esci, jdsearch, kuaisar, obd, wands"):
        ingest("trec", tmp_path, tmp_path / "out")
    assert "trec" not in FORMATS


def test_real_file(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "analyticup_qc" / "train.csv.gz"
    ingest("analyticup", source, tmp_path / "out")
    metrics = read_manifest(tmp_path / "out")["metrics"]
    raw = pd.read_csv(source, keep_default_na=False)
    assert metrics["rows"] == len(raw) == 21_312
    assert metrics["blank_queries"] == 1
    assert metrics["duplicates"] >= 33, "exact duplicates, and those that normalisation makes equal"
    assert metrics["judgments"] == 21_312 - 1 - metrics["duplicates"] - metrics["conflicting_labels"]
    markets = read_manifest(tmp_path / "out")["markets"]
    assert markets == ["AR", "DE", "EN", "ES", "FR", "IT", "JA", "KO", "PL", "PT"]
    load_judgments(tmp_path / "out" / "judgments.parquet", markets, tmp_path / "log")
