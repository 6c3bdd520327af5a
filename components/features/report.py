"""The features report: what is covered and how values are distributed, by market, at the tables' last instant."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contracts.features import FEATURES, VIEWS, Feature, stored_features
from components.contracts.tools.report import Section, Table, write_report
from components.features.latest import newest_rows
from components.features.source import LogTables

_UNITS = {f.name: "length" if f.kind == "sequence" else f.unit for f in FEATURES}
_QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


def write_features_report(path: Path, tables: Path, source: LogTables, as_of: datetime, simulated: bool) -> None:
    """Write the HTML report of the feature tables in folder `tables`, built from `source`."""
    values = _values(tables, source, as_of)
    summary = _summary(values)
    measured = "Simulated data." if simulated else "Logged data."
    sections = [
        Section(
            "Tables",
            "One file per Feast view. A row holds until the key's next row; times are UTC, and what holds from the "
            "start is dated 2000-01-01.",
            [Table(_table_sizes(tables))],
        ),
        Section(
            "Coverage",
            "Share of each market's users, items, categories, searched queries, and pairs of them in searches that "
            "have a value. A query is known from the midnight after its first search, a sequence from a user's first "
            "click or purchase. Pairs without a row count 0 where features are read.",
            figures=[_coverage(summary)],
        ),
        Section(
            "Distributions",
            "Boxes span the quartiles, whiskers the 5th to the 95th percentile; the dashed line is the mean. Sequences "
            "are shown by their length.",
            figures=[_boxes(str(name), group) for name, group in summary.groupby("feature", sort=False)],
        ),
        Section(
            "Figures",
            "The same in numbers; p5 to p95 are percentiles.",
            [Table(summary, {"coverage": "percent"})],
        ),
    ]
    write_report(path, "Features", f"{measured} Values as known at {as_of:%Y-%m-%d %H:%M} UTC.", sections)


def _values(tables: Path, source: LogTables, as_of: datetime) -> Mapping[str, pd.DataFrame]:
    """Feature -> market and value of each of its entities (NaN where it has none), for features that have an order."""
    items = source.items.mutate(brand=source.items.brand.strip().nullif(""))
    searches = source.requests.inner_join(source.query_keys, ["market", "query"])
    searches = searches.select("request_id", "user_id", "market", "query_key")
    pairs = searches.inner_join(source.candidates.select("request_id", "item_id"), "request_id")
    pairs = pairs.inner_join(items.select("item_id", "category", "brand"), "item_id")
    entities = {
        ("user_id",): source.users.select("user_id", "market"),
        ("item_id",): source.items.select("item_id", "market"),
        ("query_key",): source.query_keys.select("query_key", "market").distinct(),
        ("category",): items.select("category", "market").distinct(),
    }
    values = {}
    for view, keys in VIEWS.items():
        shown = [f for f in stored_features(view) if isinstance(f, Feature) and f.kind != "categorical"]
        if not shown:
            continue
        rows = newest_rows(source.engine.scan(tables / f"{view}.parquet"), view, as_of)
        numbers = rows.select(*keys, **{feature.name: _number(rows[feature.name], feature) for feature in shown})
        # In the order of keys, as means of floats depend on it; only numbers leave the engine.
        asked = entities[keys] if keys in entities else pairs.select(*keys, "market").distinct()
        joined = asked.left_join(numbers, list(keys)).order_by(list(keys))
        frame = joined.select("market", *numbers.columns[len(keys) :]).to_pandas()
        for feature in shown:
            values[feature.name] = frame[["market", feature.name]].set_axis(["market", "value"], axis=1)
    return values


def _number(column: ibis.Column, feature: Feature) -> ibis.Column:
    return column.length() if feature.kind == "sequence" else column


def _summary(values: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """feature, market, entities, coverage, mean and quantiles, a row a feature and market."""
    parts = []
    for name, frame in values.items():
        groups = frame.groupby("market")["value"]
        part = groups.quantile(np.array(list(_QUANTILES.values()))).unstack().set_axis(list(_QUANTILES), axis=1)
        part.insert(0, "entities", groups.size())
        part.insert(1, "coverage", groups.count() / groups.size())
        part.insert(2, "mean", groups.mean())
        part.insert(0, "feature", name)
        parts.append(part.reset_index())
    return pd.concat(parts, ignore_index=True)[["feature", "market", *parts[0].columns[2:]]]


def _table_sizes(tables: Path) -> pd.DataFrame:
    rows = []
    for view, keys in VIEWS.items():
        times = pq.read_table(tables / f"{view}.parquet", columns=["event_timestamp"])["event_timestamp"]
        span = pc.min_max(times).as_py()
        rows.append((view, " + ".join(keys), len(times), span["min"], span["max"]))
    return pd.DataFrame(rows, columns=["view", "key", "rows", "first", "last"])


def _coverage(summary: pd.DataFrame) -> go.Figure:
    shares = summary.pivot_table(index="feature", columns="market", values="coverage", sort=False)
    heatmap = go.Heatmap(
        z=shares.to_numpy(),
        x=list(shares.columns),
        y=list(shares.index),
        zmin=0,
        zmax=1,
        colorscale="Blues",
        texttemplate="%{z:.0%}",
        showscale=False,
    )
    return go.Figure(heatmap).update_layout(
        height=90 + 26 * len(shares), yaxis={"autorange": "reversed"}, xaxis_title="market"
    )


def _boxes(name: str, group: pd.DataFrame) -> go.Figure:
    low, first, middle, third, high = (group[quantile] for quantile in _QUANTILES)
    box = go.Box(
        x=group["market"],
        q1=first,
        median=middle,
        q3=third,
        lowerfence=low,
        upperfence=high,
        mean=group["mean"],
        boxpoints=False,
    )
    return go.Figure(box).update_layout(title=name, height=240, xaxis_title="market", yaxis_title=_UNITS[name])
