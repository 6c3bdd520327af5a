"""A page in a terminal shows what shoppers and sellers wrote, whatever it spells."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from components.contracts.text import visible
from pipelines.cli.page import ranked_page
from serving.client import Row
from serving.retrieval import Item


def printed(query: str, title: str, item_id: str = "i1") -> str:
    rows = [Row(item_id, 0.5, 0.5, 0.1, 0.01, "stored")]
    table = ranked_page(query, rows, {item_id: Item(item_id, title, 10.0, 1.0)})
    out = io.StringIO()
    Console(file=out, width=400, force_terminal=True, color_system=None).print(table)
    return out.getvalue()


@pytest.mark.parametrize(
    "text",
    ["[ready stock] Kaos", "Kaos [/PROMO] dewasa", "เคส [/b]", "[bold red]x[/]", ":smile: tas", "[link=http://x]y"],
)
def test_brackets_and_colons_are_printed_as_they_are(text: str) -> None:
    assert printed("TH: q", text).count(text) == 1
    assert printed(f"TH: {text}", "t").count(text) == 1
    assert printed("q", "t", text).count(text) == 1


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30))
def test_no_text_moves_the_cursor_or_turns_the_line(text: str) -> None:
    shown = printed(f"TH: {text}", text, text)
    assert visible(shown.replace("\n", "")) == " ".join(shown.replace("\n", "").split())
    assert shown.count("\n") == printed("q", "t").count("\n")
