"""Rows of a log that contradict other rows: found, counted, and left out, so that none of them becomes a label.

Every row is well formed and refers to rows that exist; what it says about them can't be. Choices (ours):

- A row at fault is dropped, not mended: nobody can tell which of the two rows that contradict each other is wrong.
- A request whose list can't be trusted (one position twice, nothing in it), or whose user is of another market, goes
  with its candidates and its events.
- A row counts once, under the first problem of its table that holds, so that counts add up to what is missing.
- Above a share of a table's rows (`LoadConfig.max_dropped`) the log is refused: then its export is wrong as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from components.contracts.errors import BadInput
from components.contracts.schemas import LOG_TABLES, TableSchema

# Examples that are kept of each problem.
EXAMPLES = 20

# In the order in which tables are cleaned: each is looked at beside what is left of those before it. A query gives the
# rows (by their number) that one of its problems holds for; in `CASE` the first one counts.
_PROBLEMS: Mapping[str, str] = {
    # In two steps: in one, requests and items would be joined by markets that differ, which is nearly every pair.
    "candidates": """
        WITH asked AS MATERIALIZED (
            SELECT c.row, c.item_id, r.market FROM candidates c JOIN requests r USING (request_id)
        )
        SELECT a.row, 'item of another market than their request' AS problem
        FROM asked a JOIN items i USING (item_id) WHERE i.market <> a.market
        """,
    "requests": """
        WITH lists AS (SELECT request_id, count(position) > count(DISTINCT position) AS repeats
                       FROM candidates GROUP BY request_id)
        SELECT r.row, CASE WHEN l.request_id IS NULL THEN 'no candidates'
                           WHEN l.repeats THEN 'one position twice among their candidates'
                           WHEN u.market <> r.market THEN 'in another market than their user' END AS problem
        FROM requests r LEFT JOIN lists l USING (request_id) JOIN users u USING (user_id) WHERE problem IS NOT NULL
        """,
    "candidates of dropped requests": """
        SELECT c.row, 'their request was dropped' AS problem FROM candidates c ANTI JOIN requests r USING (request_id)
        """,
    "events": """
        SELECT e.row, CASE
            WHEN e.request_id IS NULL AND e.domain = 'search' THEN 'in search without a request'
            WHEN e.request_id IS NULL AND i.market <> u.market THEN 'item of another market than their user'
            WHEN e.request_id IS NULL THEN NULL
            WHEN r.request_id IS NULL THEN 'their request was dropped'
            WHEN e.user_id <> r.user_id THEN 'by another user than their request'
            WHEN e.domain <> r.domain THEN 'in another domain than their request'
            WHEN i.market <> r.market THEN 'item of another market than their request'
            WHEN c.item_id IS NULL THEN 'item that is no candidate of their request'
            WHEN c.position IS NULL THEN 'item that their request did not show'
            WHEN e.timestamp < r.timestamp THEN 'before their request' END AS problem
        FROM events e JOIN users u ON u.user_id = e.user_id JOIN items i ON i.item_id = e.item_id
        LEFT JOIN requests r ON r.request_id = e.request_id
        LEFT JOIN candidates c ON c.request_id = e.request_id AND c.item_id = e.item_id
        WHERE problem IS NOT NULL
        """,
    "judgments": """
        SELECT j.row, 'item that the catalogue has in another market' AS problem
        FROM judgments j JOIN items i USING (item_id) WHERE i.market <> j.market
        """,
}
_SCHEMAS = {schema.name: schema for schema in LOG_TABLES}


@dataclass(frozen=True)
class Dropped:
    """Rows of one table that were dropped for one reason.

    Attributes:
        table: its name.
        problem: what is wrong with them.
        rows: how many.
        of: rows of the table as it was read.
        examples: ids of the first of them.
    """

    table: str
    problem: str
    rows: int
    of: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rows:,} of {self.of:,} {self.table} dropped: {self.problem} (first: {self.examples[0]})"


def drop_contradictions(tables: Mapping[str, pa.Table]) -> tuple[dict[str, pa.Table], list[Dropped]]:
    """The six tables without the rows that contradict others, order kept; and what was left out, by table and reason.

    Args:
        tables: by name, as `read_log` gives them: every reference leads to a row.
    """
    kept, dropped = dict(tables), []
    with duckdb.connect() as engine:
        for schema in LOG_TABLES:
            engine.register(schema.name, _numbered(kept[schema.name], schema))
        for step, query in _PROBLEMS.items():
            name = step.split()[0]
            found = engine.sql(query).order("row").fetchnumpy()
            rows, problems = found["row"], found["problem"]
            if not len(rows):
                continue
            for problem in dict.fromkeys(problems):
                at_fault = rows[problems == problem]
                examples = kept[name].select(list(_SCHEMAS[name].key)).take(pa.array(at_fault[:EXAMPLES])).to_pylist()
                shown = tuple(" ".join(f"{column}={value!r}" for column, value in row.items()) for row in examples)
                dropped.append(Dropped(name, problem, len(at_fault), tables[name].num_rows, shown))
            keep = np.ones(kept[name].num_rows, dtype=bool)
            keep[rows] = False
            kept[name] = kept[name].filter(pa.array(keep))
            engine.register(name, _numbered(kept[name], _SCHEMAS[name]))
    return kept, dropped


def refuse_many(dropped: Sequence[Dropped], max_dropped: float, where: str) -> None:
    """Raise BadInput where more than a share `max_dropped` of a table's rows was dropped."""
    for table in dict.fromkeys(part.table for part in dropped):
        parts = [part for part in dropped if part.table == table]
        rows, of = sum(part.rows for part in parts), parts[0].of
        if rows > max_dropped * of:
            reasons = "; ".join(f"{part.rows:,} {part.problem} (first: {part.examples[0]})" for part in parts)
            raise BadInput(
                f"{where}: {table}: {rows:,} of {of:,} rows ({rows / of:.1%}) contradict other rows, more than the "
                f"profile's load.max_dropped ({max_dropped:.1%}): {reasons}"
            )


def _numbered(table: pa.Table, schema: TableSchema) -> pa.Table:
    return table.select(list(schema.columns)).append_column("row", pa.array(np.arange(table.num_rows)))
