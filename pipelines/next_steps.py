"""The last lines of a run: what to look at first, and commands that work as they are printed."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from serving.retrieval import retrieve


def look_first(summary: Mapping[str, Any]) -> list[str]:
    """The three pages to open first: the index, then what decided, then the best measured half."""
    reports = summary["reports"]
    wanted = ["index", "relevance", "ranking"] if summary["gate"]["passed"] else ["index", "gate", "relevance"]
    return [reports[name] for name in (*wanted, "gate") if name in reports][:3]


def try_next(summary: Mapping[str, Any]) -> list[str]:
    """Commands on the run's release; none where the gate refused it."""
    if not summary["release"]:
        return []
    release = Path(summary["release"]["path"])
    archipelago = _program()
    serve = f"{archipelago} serve {shlex.quote(str(release))}"
    if asked := _findable(release):
        market, user, query = map(shlex.quote, asked)
        return [serve, f"{archipelago} query --market {market} --user {user} {query}"]
    pairs = shlex.quote(str(release / "golden" / "relevance.parquet"))
    return [serve, f"{archipelago} score --release {shlex.quote(str(release))} --in {pairs} --out scores.parquet"]


def _findable(release: Path) -> tuple[str, str, str] | None:
    """Market, user and query of the first golden request whose words the catalogue holds; None without search."""
    golden = release / "golden" / "search.parquet"
    if not golden.is_file():
        return None
    requests = pq.read_table(golden, columns=["market", "user_id", "query"]).to_pandas().drop_duplicates()
    rows = requests.itertuples(index=False, name=None)
    return next(((market, user, query) for market, user, query in rows if retrieve(release, market, query, 1)), None)


def _program() -> str:
    """`archipelago` as the shell finds it: by name, or by the path it was started with."""
    started = Path(sys.argv[0])
    if shutil.which(started.name):
        return started.name
    here = Path.cwd()
    return shlex.quote(str(started.relative_to(here) if started.is_relative_to(here) else started))
