"""A ranked page in a terminal.

Queries, titles and ids are other people's text: none of it is markup, an escape sequence or a change of direction here.
"""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from components.contracts.text import visible
from serving.client import Row
from serving.retrieval import Item


def ranked_page(title: str, rows: Sequence[Row], items: Mapping[str, Item]) -> Table:
    """Rows of a page, best first, with what the catalogue says of their items."""
    table = Table(title=_plain(title), title_justify="left")
    for column in ("#", "item", "title", "price", "score", "relevance", "p(click)", "p(purchase)", "source"):
        table.add_column(column, justify="left" if column in ("item", "title", "source") else "right")
    for rank, row in enumerate(rows, start=1):
        item = items[row.item_id]
        table.add_row(
            str(rank), _plain(row.item_id), _plain(item.title), f"{item.price:,.2f}", f"{row.score:.3f}",
            f"{row.relevance:.3f}", f"{row.p_click:.3f}", f"{row.p_purchase:.4f}", _plain(row.relevance_source),
        )  # fmt: skip
    return table


def _plain(text: str) -> Text:
    return Text(visible(text))
