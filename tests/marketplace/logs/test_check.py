"""`archipelago check`: all that is wrong at once, with the first twenty of each, and exit code 2 where it matters."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from components.marketplace.logs.check import check
from components.marketplace.logs.config import LoadConfig
from components.marketplace.logs.load import load_judgments
from tests.marketplace.logs.user_log import AS_OF, MARKETS, user_tables, write_tables

ARCHIPELAGO = Path(sys.executable).with_name("archipelago")


def many_faults() -> dict[str, pd.DataFrame]:
    tables = user_tables()
    more = pd.concat([tables["items"].head(1)] * 30, ignore_index=True)
    more["item_id"] = [f"x{n}" for n in range(30)]
    more["market"] = "XX"
    tables["items"] = pd.concat([tables["items"], more], ignore_index=True)
    tables["judgments"].loc[0, "grade"] = 4
    tables["requests"].loc[1, "query"] = None
    return tables


def test_all_is_said_at_once_with_the_first_twenty(tmp_path: Path) -> None:
    data = write_tables(many_faults(), tmp_path, ".csv")
    verdict = check(data, None, MARKETS, AS_OF, LoadConfig())
    assert verdict.refused == 3
    said = "\n".join(verdict.lines)
    assert f"refused: {data}/items.csv: column market: not one of ID, TH in 30 of 34 rows\n    row 5: 'XX'" in said
    assert verdict.lines.count("    row 24: 'XX'") == 1
    assert "    row 25: 'XX'" not in verdict.lines
    assert "    and 10 more" in verdict.lines
    assert f"refused: {data}/judgments.csv: column grade: above 1 in 1 of 3 rows\n    row 1: 4.0" in said
    assert "column query: null in a search request in 1 of 3 rows\n    row 2: 'r2'" in said
    assert "would load" not in said


def test_rows_that_would_be_left_out_are_listed(tmp_path: Path) -> None:
    tables = user_tables()
    tables["events"].loc[1, "request_id"] = None
    data = write_tables(tables, tmp_path)
    lenient = check(data, None, MARKETS, AS_OF, LoadConfig(max_dropped=0.5))
    expected = ("left out: 1 of 5 events: in search without a request", "    event_id='e2'")
    assert lenient.lines[:2] == expected
    assert lenient.lines[2] == "would load 4 items, 2 users, 3 requests, 5 candidates, 4 events, 3 judgments"
    assert lenient.refused == 0
    strict = check(data, None, MARKETS, AS_OF, LoadConfig())
    assert strict.refused == 1
    assert "more than the profile's load.max_dropped (5.0%)" in strict.lines[0]
    assert strict.lines[1:] == expected


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ARCHIPELAGO, "check", *arguments], capture_output=True, text=True, timeout=120)


def test_the_command_ends_with_2_where_something_is_refused(tmp_path: Path) -> None:
    good = write_tables(user_tables(), tmp_path / "good")
    assert (said := run("--data", good)).returncode == 0, said.stderr
    assert "would load 4 items" in said.stdout
    bad = write_tables(many_faults(), tmp_path / "bad")
    said = run("--data", bad)
    assert said.returncode == 2
    assert said.stdout.count("refused: ") == 3
    assert said.stderr.strip().endswith(f"{bad}: refused; faults: 3, all of them above")
    assert "Traceback" not in said.stderr
    said = run("--judgments", bad / "judgments.parquet")
    assert (said.returncode, said.stdout.count("refused: ")) == (2, 1)
    assert run().returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"], "nothing is written"


# Field cases: the file, its markets, and what is said of it; None: it loads.
FIELD = {
    "02-one-item-id-two-locales/judgments.csv": (("US", "JP"), "names items of several markets (state items_per"),
    "06-ids-as-floats/judgments.parquet": (("ID", "TH"), None),
    "20-pass-crlf-at-block-end/judgments.csv": (("ID", "TH"), None),
    "22-pass-csv-dialects/bom.csv": (("ID", "TH"), None),
    "22-pass-csv-dialects/semicolon.csv": (("ID", "TH"), "looks like ';'"),
    "22-pass-csv-dialects/utf16.csv": (("ID", "TH"), "UTF-16"),
    "22-pass-csv-dialects/backslash.csv": (("ID", "TH"), "not a readable CSV file"),
    "25-pass-string-grades/judgments.csv": (("ID", "TH"), "column grade: not a number"),
}  # fmt: skip


@pytest.mark.parametrize("case", FIELD)
def test_files_from_the_field(case: str, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data.parent / "cases" / case
    if not path.is_file():
        pytest.skip(f"no file {path}")
    markets, says = FIELD[case]
    verdict = check(None, path, markets, AS_OF, LoadConfig())
    assert verdict.refused == (says is not None), verdict.lines
    if says:
        assert says in verdict.lines[0]
    else:
        load_judgments(path, markets, tmp_path / "log")
