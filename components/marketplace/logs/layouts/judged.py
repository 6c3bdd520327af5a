"""Judgments of published rows: what can't be judged is left out and counted, a pair's grades become their mean."""

import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput
from components.contracts.text import BLANK
from components.marketplace.logs.layouts.dataset import make_tables


def judgments_of(rows: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Judgments, a row per query and item in the order of first mention; and what was read and left out.

    Args:
        rows: query_id, market, query, item_id, title, grade, `row`, `short` (whether the texts' lengths are allowed),
            and what else is kept of the first row of a pair.

    Raises:
        BadInput: no row is left.
    """
    blank = {
        f"blank_{name}": pc.or_kleene(rows[name].is_null(), pc.match_substring_regex(rows[name], BLANK))
        for name in ("query", "title")
    }
    counts, left = {"rows": rows.num_rows}, pa.chunked_array([pa.array([True] * rows.num_rows)])
    for reason, at_fault in {**blank, "too_long": pc.invert(rows["short"])}.items():
        gone = pc.and_(pc.fill_null(at_fault, False), left)
        counts[reason] = int(pc.sum(gone).as_py() or 0)
        left = pc.and_(left, pc.invert(gone))
    kept = rows.filter(left)
    if kept.num_rows == 0:
        raise BadInput(f"none of {rows.num_rows} rows has a query and a title")
    judgments = make_tables({"kept": kept}, {"judgments": _MEANS})["judgments"]
    counts["repeated_pairs"] = kept.num_rows - judgments.num_rows
    return judgments, counts


_MEANS = """
    SELECT * EXCLUDE (grade, row, short), avg(grade) OVER (PARTITION BY query_id, item_id) AS grade FROM kept
    QUALIFY row_number() OVER (PARTITION BY query_id, item_id ORDER BY row) = 1 ORDER BY row
    """
