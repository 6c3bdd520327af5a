"""Draw README's picture of a ranked page: serve a release, ask it as `archipelago query` does, keep what is printed.

    python -m tests.bench.draw_page --release runs/RUN/releases/DIGEST --market TH --user USER "QUERY"

Writes serving/ranked-page.svg, which needs no font or file from elsewhere.
"""

import argparse
import io
import re
import tempfile
from pathlib import Path

from rich.console import Console

from pipelines.cli.page import ranked_page
from serving import client
from serving.local.launcher import serve_release
from serving.retrieval import retrieve

PICTURE = Path(__file__).resolve().parents[2] / "serving" / "ranked-page.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--market", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("query")
    args = parser.parse_args()
    found = {item.item_id: item for item in retrieve(args.release, args.market, args.query, 50)}
    with tempfile.TemporaryDirectory() as state, serve_release(args.release, Path(state)) as service:
        page = client.search(service.url, market=args.market, user_id=args.user, query=args.query, item_ids=list(found))
    console = Console(record=True, width=164, file=io.StringIO())
    console.print(ranked_page(f"{args.market}: {args.query}", page[: args.top], found))
    drawn = console.export_svg(title=f'archipelago query --market {args.market} --user {args.user} "{args.query}"')
    # The reader's own fixed-width font will do: rich would fetch one.
    PICTURE.write_text(re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
