"""Files as owners keep them: folders of parts, JSON lines; other kinds of files are named for what they look like."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts.errors import BadInput
from components.contracts.files import find_table
from components.contracts.locations import data_version
from components.contracts.schemas import ITEMS, JUDGMENTS
from components.contracts.tables import Limits, read_log, read_table
from tests.marketplace.logs.user_log import AS_OF, MARKETS, user_tables, write_tables

LIMITS = Limits(MARKETS, AS_OF)


def json_lines(frame: pd.DataFrame, path: Path) -> None:
    text = frame.to_json(orient="records", lines=True, date_format="iso", force_ascii=False)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_json_lines_mean_the_same(suffix: str, tmp_path: Path) -> None:
    for name, table in user_tables().items():
        json_lines(table, tmp_path / f"{name}{suffix}")
    expected = read_log(write_tables(user_tables(), tmp_path / "parquet"), LIMITS)
    for name, table in read_log(tmp_path, LIMITS).items():
        assert table.to_pylist() == expected[name].to_pylist()


def test_json_numbers_and_odd_texts_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(
        '{"item_id": "007", "market": "ID", "title": "2026-01-01", "category": "1e5", "price": 1, "late": [1]}\n\n'
        '{"brand": null, "item_id": 12345678901234567, "market": "ID", "title": "nan", "category": "c", "price": 2.5}\n'
    )
    table = read_table(path, ITEMS, LIMITS)
    assert table["item_id"].to_pylist() == ["007", "12345678901234567"]
    assert table["title"].to_pylist() == ["2026-01-01", "nan"]
    assert table["category"].to_pylist() == ["1e5", "c"]
    assert table["late"].to_pylist() == [[1], None], "extra columns are kept"


@pytest.mark.parametrize(
    "text", ['{"item_id": ', "[1, 2]", '{"item_id": 1} x', "\x00\x01", "", "{}", '{"a": 1}\n{"a": "b"', '"x"']
)
def test_broken_json_lines_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(text)
    with pytest.raises(BadInput, match=r"items\.jsonl"):
        read_table(tmp_path / "items.jsonl", ITEMS, LIMITS)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("folder", ["items", "items{suffix}"])
def test_parts_are_one_table(folder: str, suffix: str, tmp_path: Path) -> None:
    parts = tmp_path / folder.format(suffix=suffix)
    items = user_tables()["items"]
    for market, rows in items.groupby("market"):
        (parts / f"market={market}").mkdir(parents=True)
        path = parts / f"market={market}" / f"part-00000-a{suffix}"
        if suffix == ".jsonl":
            json_lines(rows, path)
        else:
            rows.to_parquet(path) if suffix == ".parquet" else rows.to_csv(path, index=False)
    (parts / "_SUCCESS").touch()
    (parts / ".part-00000-a.crc").write_bytes(b"crc")
    assert find_table(tmp_path, "items") == parts
    table = read_table(parts, ITEMS, LIMITS)
    assert table["item_id"].to_pylist() == ["001", "002", "003", "004"]
    with pytest.raises(BadInput, match=r"duplicate ids in 1 of 5 rows"):
        again = parts / f"part-9{suffix}"
        json_lines(items.head(1), again) if suffix == ".jsonl" else (
            items.head(1).to_parquet(again) if suffix == ".parquet" else items.head(1).to_csv(again, index=False)
        )
        read_table(parts, ITEMS, LIMITS)


def test_parts_must_fit_together(tmp_path: Path) -> None:
    parts = tmp_path / "items"
    parts.mkdir()
    with pytest.raises(BadInput, match=r"expected parts of one format .*found 0 files"):
        read_table(parts, ITEMS, LIMITS)
    items = user_tables()["items"]
    items.to_csv(parts / "part-0.csv", index=False)
    items.to_parquet(parts / "part-1.parquet")
    with pytest.raises(BadInput, match="found 2 files"):
        read_table(parts, ITEMS, LIMITS)
    (parts / "part-0.csv").unlink()
    pq.write_table(pa.Table.from_pandas(items).set_column(4, "price", pa.array([[1]] * 4)), parts / "part-2.parquet")
    with pytest.raises(BadInput, match="its parts do not fit together"):
        read_table(parts, ITEMS, LIMITS)


def test_a_changed_part_or_mapping_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    user_tables()["items"].to_csv(tmp_path / "items" / "part-0.csv", index=False)
    versions = [data_version(str(tmp_path))]
    (tmp_path / "items" / "part-1.csv").write_text("x")
    versions.append(data_version(str(tmp_path)))
    (tmp_path / "mapping.yaml").write_text("times: s")
    versions.append(data_version(str(tmp_path)))
    assert len(set(versions)) == 3
    (tmp_path / "judgments.csv").write_text("x")
    alone = data_version("", str(tmp_path / "judgments.csv"))
    (tmp_path / "mapping.yaml").write_text("times: ms")
    assert data_version("", str(tmp_path / "judgments.csv")) != alone


TEXT = user_tables()["judgments"].to_csv(index=False)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("judgments.csv", TEXT)


OTHERS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "UTF-16": ("csv", lambda path: path.write_text(TEXT, encoding="utf-16"), "not CSV but UTF-16: save it as UTF-8"),
    "UTF-16, no mark": ("csv", lambda path: path.write_text(TEXT, encoding="utf-16-le"), "is it UTF-16"),
    "UTF-16, gzipped": ("csv.gz", lambda path: path.write_bytes(gzip.compress(TEXT.encode("utf-16"))), "but UTF-16"),
    "Windows": ("csv", lambda path: path.write_text(TEXT.replace("kaos", "café").replace("เ", "").encode(
        "cp1252", "ignore").decode("cp1252"), encoding="cp1252"), "UTF8.*save it as UTF-8"),
    "semicolons": ("csv", lambda path: path.write_text(TEXT.replace(",", ";")), "looks like ';'"),
    "tabs": ("csv", lambda path: path.write_text(TEXT.replace(",", "\t")), r"looks like '\\t'"),
    "bars": ("csv.gz", lambda path: path.write_bytes(gzip.compress(TEXT.replace(",", "|").encode())), "like .[|]"),
    "Excel": ("csv", zipped, "a ZIP archive or an Excel workbook: export a .csv"),
    "Parquet": ("csv", lambda path: user_tables()["judgments"].to_parquet(path), "but Parquet: name it .parquet"),
    "gzip": ("csv", lambda path: path.write_bytes(gzip.compress(TEXT.encode())), "not CSV but gzipped: name it .gz"),
    "JSON": ("csv", lambda path: json_lines(user_tables()["judgments"], path), "not CSV but JSON: name it .jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_kinds_of_files_are_named(case: str, tmp_path: Path) -> None:
    suffix, write, says = OTHERS[case]
    path = tmp_path / f"judgments.{suffix}"
    write(path)
    with pytest.raises(BadInput, match=says) as caught:
        read_table(path, JUDGMENTS, LIMITS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "judgments.csv").write_text(TEXT, encoding="utf-8-sig")
    assert read_table(tmp_path / "judgments.csv", JUDGMENTS, LIMITS).column_names[0] == "query_id"
