"""The search page of the release that is served, and the little that it asks beside the public V2 endpoint.

Choices (ours):

- Loopback alone: the local launcher asks for the page, a pod does not; requests that name another host than this
  machine are refused, so that no web page can reach it under a name of its own.
- Scores come from the V2 endpoint, called by the browser. Here are the candidates (BM25 over the catalogue), example
  users and queries, and the release's reports.
- A page of one service may ask another one on this machine, to show two releases side by side.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import RedirectResponse, Response

from components.contracts.releases import REPORTS
from components.contracts.text import MAX_QUERY_CHARS, MAX_TYPED
from serving.release import Release

PATH = "/page"
_FOLDER = Path(__file__).parent
_FILES = {"": "index.html", "page.css": "page.css", "page.js": "page.js"}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HERE = ("127.0.0.1", "localhost")
_ORIGINS = r"http://(127\.0\.0\.1|localhost)(:\d+)?"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; connect-src 'self' http://127.0.0.1:* http://localhost:*"
)
_LANGUAGES = {"ID": "id", "MY": "ms", "PH": "fil", "SG": "en", "TH": "th", "VN": "vi"}  # for fonts and line breaks
_EXAMPLES = 8


def add_page(app: FastAPI, release: Release) -> None:
    """Serve the page of a release under `PATH`."""
    router = APIRouter(prefix=PATH, dependencies=[Depends(_from_here)], include_in_schema=False)
    about = _about(release)

    @router.get("")
    async def page() -> RedirectResponse:
        return RedirectResponse(f"{PATH}/")

    for path, name in _FILES.items():
        router.add_api_route(f"/{path}", _file(_FOLDER / name, _POLICY))
    for name in about["reports"]:
        # A report is a page of its own: in a sandbox it sees nothing of this one.
        report = release.path / REPORTS / f"{name}.html"
        router.add_api_route(f"/reports/{name}.html", _file(report, "sandbox allow-scripts allow-popups"))

    @router.get("/release.json")
    async def described() -> dict[str, Any]:
        return about

    @router.get("/candidates")
    def candidates(
        market: str,
        query: Annotated[str, Query(max_length=MAX_TYPED * MAX_QUERY_CHARS)],
        n: Annotated[int, Query(ge=1, le=1000)] = 20,
    ) -> dict[str, Any]:
        from serving.retrieval import retrieve

        found = retrieve(release.path, market, query, n)
        return {
            "items": [
                {"item_id": i.item_id, "title": i.title, "price": None if math.isnan(i.price) else i.price}
                for i in found
            ]
        }

    app.include_router(router)
    app.add_middleware(
        CORSMiddleware, allow_origin_regex=_ORIGINS, allow_methods=["GET", "POST"], allow_headers=["content-type"]
    )


async def _from_here(request: Request) -> None:
    if request.url.hostname not in _HERE:
        raise HTTPException(403, "the search page is for this machine alone")


def _file(path: Path, policy: str) -> Any:
    def send() -> Response:  # whole: Starlette's answers with files refuse a wrong range in a shape of their own
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=headers)

    return send


def _about(release: Release) -> dict[str, Any]:
    """What the page must know of a release; examples come from its golden requests."""
    golden = pq.read_table(release.path / "golden" / ("search.parquet" if release.has_search else "relevance.parquet"))
    rows = golden.to_pylist()

    def examples(market: str, column: str) -> list[str]:
        return list(dict.fromkeys(row[column] for row in rows if row["market"] == market))[:_EXAMPLES]

    return {
        "release": release.name,
        "has_search": release.has_search,
        "experts": list(release.experts),
        "markets": {
            market: {
                "language": _LANGUAGES.get(market, "und"),
                "users": examples(market, "user_id") if release.has_search else [],
                "queries": examples(market, "query"),
            }
            for market in release.markets
        },
        "reports": sorted(path.stem for path in (release.path / REPORTS).glob("*.html")),
    }
