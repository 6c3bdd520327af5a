"""What drift verdicts are measured on: halves of real tables, a made table with changes of known size, and incidents in
simulated logs.
"""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contracts.tables import write_table
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.simulate import simulate

Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]
_AS_OF = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def real_tables(data: Path) -> dict[str, pd.DataFrame]:
    """The real sets, one table each; the language is the market where there is one."""
    bandit = [pd.read_csv(data / "open_bandit_bts" / f"bts_{name}.csv.gz") for name in ("men", "women")]
    tiki = [pd.read_csv(path) for path in sorted((data / "tiki_vi").glob("*.csv.gz"))]
    judged = pd.read_csv(data / "analyticup_qc" / "train.csv.gz")
    return {
        "Open Bandit, men": bandit[0],
        "Open Bandit, women": bandit[1],
        "Tiki": pd.concat(tiki, ignore_index=True),
        "PRDECT": pd.read_csv(data / "prdect_id" / "PRDECT-ID.csv.gz", sep=";"),
        "AnalytiCup": judged.rename(columns={"language": "market"}),
    }


def halves(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two halves of a table's rows, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(table))
    middle = len(table) // 2
    return table.iloc[order[:middle]].reset_index(drop=True), table.iloc[order[middle:]].reset_index(drop=True)


def made_table(rows: int, seed: int) -> pd.DataFrame:
    """A made-up table of search results, two markets: every kind of column that changes are made in."""
    rng = np.random.default_rng(seed)
    words = np.char.add("brand ", np.minimum(rng.zipf(1.3, rows), 4000).astype(str))
    return pd.DataFrame(
        {
            "market": rng.choice(["TH", "VN"], rows),
            "quality": rng.normal(size=rows),
            "price": rng.lognormal(5, 1, rows).round(2),
            "sold": np.floor(rng.pareto(1.0, rows) * 3),
            "category": rng.choice(list("abcdefgh"), rows, p=[0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05]),
            "brand": words,
            "rating": np.where(rng.random(rows) < 0.02, np.nan, rng.integers(1, 6, rows)),
            "weight": rng.normal(2, 0.5, rows),
            "label": (rng.random(rows) < 0.2) * 1,
        }
    )


def _into(frame: pd.DataFrame, column: str, share: float, value: object, rng: np.random.Generator) -> pd.DataFrame:
    values = frame[column].astype(object if isinstance(value, str) else float)
    return frame.assign(**{column: values.where(rng.random(len(frame)) >= share, value)})


def _other_tail(frame: pd.DataFrame) -> pd.DataFrame:
    rare = ~frame["brand"].isin([f"brand {i}" for i in range(1, 30)])
    return frame.assign(brand=frame["brand"].where(~rare, frame["brand"] + " x"))


# Name -> the column that changes, and how. A category grows by 5 points of rows: 0.05 / (1 - 0.05) of the others' rows.
CHANGES: dict[str, tuple[str, Change]] = {
    "+0.2 sd": ("quality", lambda f, _: f.assign(quality=f["quality"] + 0.2)),
    "scale x1.2": ("quality", lambda f, _: f.assign(quality=f["quality"] * 1.2)),
    "a category +5 points": ("category", lambda f, r: _into(f, "category", 0.05 / 0.95, "f", r)),
    "nulls +5 points": ("rating", lambda f, r: _into(f, "rating", 0.05, np.nan, r)),
    "a new category, 2 %": ("category", lambda f, r: _into(f, "category", 0.02, "new", r)),
    "a long tail doubled": ("sold", lambda f, _: f.assign(sold=f["sold"] * 2)),
    "price x1000": ("price", lambda f, _: f.assign(price=f["price"] * 1000)),
    "labels flipped in one market": (
        "label",
        lambda f, _: f.assign(label=np.where(f["market"] == "TH", 1 - f["label"], f["label"])),
    ),
    "rare brands replaced": ("brand", lambda f, _: _other_tail(f)),
    "half the rows twice": ("", lambda f, _: pd.concat([f, f.iloc[: len(f) // 2]], ignore_index=True)),
}


def quiet_log(seed: int) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    """Both halves in time of a simulated log in which nothing changes; each seed's world is its own."""
    sizes = {"users": 220, "search_requests": 600, "rec_requests": 300, "shop_requests": 150}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        simulate(MarketplaceConfig(markets=("TH", "VN"), seed=seed, days=28, **sizes), _AS_OF, log)
        return _in_time(log)


def _in_time(log: Path) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    tables = {path.stem: pq.read_table(path) for path in sorted(log.glob("*.parquet"))}
    requests = tables["requests"]
    middle = pa.scalar(pd.Timestamp("2025-12-18", tz="UTC"), requests["timestamp"].type)
    sides: list[dict[str, pa.Table]] = []
    for late in (False, True):

        def kept(table: pa.Table, late: bool = late) -> pa.Table:
            before = pc.less(table["timestamp"], middle)
            return table.filter(pc.invert(before) if late else before)

        own = kept(requests)
        shown = pc.is_in(tables["candidates"]["request_id"], own["request_id"].combine_chunks())
        side = {"requests": own, "candidates": tables["candidates"].filter(shown), "events": kept(tables["events"])}
        sides.append(tables | side)
    return sides[0], sides[1]


def write_log(tables: dict[str, pa.Table], folder: Path) -> Path:
    """A log folder of these tables, without a manifest: any markets of the six will do."""
    for name, table in tables.items():
        write_table(table, folder / f"{name}.parquet")
    return folder


def incidents(before: dict[str, pa.Table], after: dict[str, pa.Table]) -> dict[str, tuple[dict[str, pa.Table], ...]]:
    """Name -> both sides of a log with something broken in the current one."""

    def changed(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, pa.Table]:
        frame = change(after[name].to_pandas())
        return after | {name: pa.Table.from_pandas(frame, preserve_index=False)}

    def without(tables: dict[str, pa.Table], market: str) -> dict[str, pa.Table]:
        kept = {
            name: table.filter(pc.not_equal(table["market"], market))
            for name, table in tables.items()
            if "market" in table.column_names
        }
        for name, key in (("candidates", "requests"), ("events", "users")):
            column = "request_id" if key == "requests" else "user_id"
            kept[name] = tables[name].filter(pc.is_in(tables[name][column], kept[key][column].combine_chunks()))
        return kept

    few = after["requests"].slice(0, after["requests"].num_rows // 10)
    return {
        "a market is gone": (before, without(after, "VN")),
        "a market is new": (without(before, "VN"), after),
        "labels flipped": (before, changed("judgments", lambda f: f.assign(grade=1 - f["grade"]))),
        "brand is empty": (before, changed("items", lambda f: f.assign(brand=None))),
        "price x1000": (before, changed("items", lambda f: f.assign(price=f["price"] * 1000))),
        "traffic down by 90 %": (before, after | {"requests": few}),
        "a column is gone": (before, changed("users", lambda f: f[["user_id", "market"]])),
        "a domain is gone": (before, changed("requests", lambda f: f[f["domain"] != "shop"])),
    }
