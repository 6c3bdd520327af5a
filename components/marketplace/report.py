"""The report on a log, simulated or not: how much of what, where, and what it looks like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import plotly.express as px

from components.contracts.tools.cells import Unit
from components.contracts.tools.report import Section, Table, write_report

REPORT = "reports/marketplace.html"


def write_log_report(root: Path, *, simulated: bool, dropped: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write `reports/marketplace.html` into a log directory, from the Parquet files that are there.

    `simulated` says on the page whether the data is; `dropped` is what loading left out: table, problem, rows, of (rows
    that were read), examples.
    """
    note = (
        "Simulated data: every user, item, query, judgment and event on this page was drawn by the simulator."
        if simulated
        else "Logged data, as it was handed in."
    )
    with duckdb.connect() as database:
        database.execute("SET enable_progress_bar = false")  # it would write over a step's lines
        for path in sorted(root.glob("*.parquet")):
            database.read_parquet(str(path)).create_view(path.stem)
        sections = [_judgments(database)]
        if (root / "events.parquet").is_file():
            left_out = [] if simulated else [_dropped(dropped)]
            sections = [*left_out, _volumes(database), _clicks(database), _items(database), *sections]
    write_report(root / REPORT, "Marketplace log", note, sections)


def _dropped(dropped: Sequence[Mapping[str, Any]]) -> Section:
    if not dropped:
        return Section("Left out", "Nothing: no row contradicts another.")
    rows = pd.DataFrame(
        {
            "table": part["table"],
            "problem": part["problem"],
            "rows": part["rows"],
            "share": part["rows"] / part["of"],
            "first": part["examples"][0],
        }
        for part in dropped
    )
    text = "Rows that contradict other rows become no label: they were left out. A row counts under its first problem."
    return Section("Left out", text, [Table(rows, {"share": "percent"})])


def _volumes(database: duckdb.DuckDBPyConnection) -> Section:
    requests = database.sql("""
        WITH lists AS (
            SELECT request_id, count(*) AS candidates, count(position) AS exposed FROM candidates GROUP BY request_id
        )
        SELECT market, domain, count(*) AS requests, sum(candidates) AS candidates, sum(exposed) AS exposed
        FROM requests JOIN lists USING (request_id) GROUP BY ALL
        """).df()
    events = database.sql("""
        SELECT u.market, e.domain, count(*) FILTER (e.type = 'click') AS clicks,
               count(*) FILTER (e.type = 'cart') AS carts, count(*) FILTER (e.type = 'purchase') AS purchases,
               count(*) FILTER (e.request_id IS NULL) AS events_without_request
        FROM events e JOIN users u USING (user_id) GROUP BY ALL
        """).df()
    volumes = requests.merge(events, on=["market", "domain"], how="outer").fillna(0)
    volumes = volumes.astype({name: int for name in volumes.columns if name not in ("market", "domain")})
    title = "Clicks by market and domain"
    figure = px.bar(volumes, x="market", y="clicks", color="domain", barmode="group", title=title)
    text = "Requests, the items that could have been shown (candidates), those that were (exposed), what came of it."
    return Section("Volumes by market and domain", text, [Table(volumes)], [figure])


def _clicks(database: duckdb.DuckDBPyConnection) -> Section:
    by_position = database.sql("""
        WITH clicked AS (SELECT DISTINCT request_id, item_id FROM events WHERE type = 'click')
        SELECT r.domain, c.position, count(*) AS exposed, count(k.item_id) / count(*) AS click_rate
        FROM candidates c JOIN requests r USING (request_id) LEFT JOIN clicked k USING (request_id, item_id)
        WHERE c.position IS NOT NULL GROUP BY ALL ORDER BY ALL
        """).df()
    daily = database.sql("""
        SELECT date_trunc('day', make_timestamp(epoch_us(timestamp))) AS day, domain, count(*) AS events FROM events
        WHERE type = 'click' GROUP BY ALL ORDER BY ALL
        """).df()
    figures = [
        px.line(
            by_position, x="position", y="click_rate", color="domain", markers=True, title="Click rate by position",
            labels={"position": "position on the page", "click_rate": "clicked share of exposed items"},
        ).update_yaxes(tickformat=".0%", rangemode="tozero"),
        px.line(
            daily, x="day", y="events", color="domain", title="Clicks per day",
            labels={"day": "day (UTC)", "events": "clicks"},
        ).update_yaxes(rangemode="tozero").update_xaxes(nticks=6, tickformat="%d %b"),
    ]  # fmt: skip
    text = "Items in the first positions fit better and are looked at more often, so they are clicked more."
    return Section("Clicks", text, figures=figures)


def _items(database: duckdb.DuckDBPyConnection) -> Section:
    examples = database.sql("""
        SELECT market, title, category, brand, price FROM items
        QUALIFY row_number() OVER (PARTITION BY market ORDER BY md5(item_id)) <= 4 ORDER BY market, title
        """).df()
    prices = database.sql("""
        SELECT market, count(*) AS items, avg(length(title)) AS mean_title_length,
               quantile_cont(price, .1) AS price_p10, median(price) AS price_median,
               quantile_cont(price, .9) AS price_p90
        FROM items GROUP BY market ORDER BY market
        """).df()
    text = (
        "Title length in characters. Prices in local currency: of ten items one is cheaper than p10, one dearer than "
        "p90. Below, a few items of each market."
    )
    units: dict[str, Unit] = dict.fromkeys(("price", "price_p10", "price_median", "price_p90"), "price")
    return Section("Items", text, [Table(prices, units), Table(examples, units)])


def _judgments(database: duckdb.DuckDBPyConnection) -> Section:
    summary = database.sql("""
        SELECT market, count(DISTINCT query_id) AS queries, count(*) AS pairs, avg(grade) AS mean_grade,
               avg(CASE WHEN grade >= .5 THEN 1 ELSE 0 END) AS relevant
        FROM judgments GROUP BY market ORDER BY market
        """).df()
    examples = database.sql("""
        SELECT market, query, title, grade FROM judgments
        QUALIFY row_number() OVER (PARTITION BY market ORDER BY md5(query_id || item_id)) <= 4
        ORDER BY market, query
        """).df()
    text = "Grades run from 0 to 1; relevant here means at least 0.5. Below, a few pairs of each market."
    return Section("Judgments", text, [Table(summary, {"relevant": "percent"}), Table(examples)])
