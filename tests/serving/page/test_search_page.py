"""The search page in a real browser, over a real service of all six markets."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from components.contracts.markets import MARKETS
from components.release.build import build_release
from serving.local.launcher import Service, serve_release
from tests.release.tiny_release import AS_OF, CONFIG, TINY, Tiny, write_inputs
from tests.serving.page.chromium import Page, chromium
from tests.serving.real_triton import require_triton

pytestmark = pytest.mark.slow
# What a shopper types, and what stands in the field while an input method composes it.
TYPED = {
    "ID": ([], "sarung bantal"),
    "MY": ([], "penutup telefon"),
    "PH": ([], "sapatos na pambabae"),
    "SG": (["s", "sho", "shou ji", "手机"], "手机壳"),
    "TH": (["เ", "เค", "เคส"], "เคสโทรศัพท์"),
    "VN": (["t", "ta", "tai ngh", "tai nghe kho"], "tai nghe không dây"),
}
_READY = "document.querySelectorAll('#market option').length === 6"
_ANSWERED = "/^(The first|No item|The search failed)/.test(document.getElementById('status').textContent)"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("six")
    world = replace(TINY, marketplace=TINY.marketplace.model_copy(update={"markets": tuple(MARKETS)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIPELAGO_CACHE", str(root / "cache"))
        inputs = write_inputs(root, world)
        return build_release(inputs.relevance, inputs.ranking, CONFIG, AS_OF, root / "releases")


@pytest.fixture(scope="module")
def shop(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    require_triton()
    with serve_release(release, tmp_path_factory.mktemp("state"), flags=["--page"]) as running:
        yield running


@pytest.fixture
def page(shop: Service, tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as opened:
        opened.open(f"{shop.url}/page/", 1280)
        opened.wait(_READY)
        yield opened


def choose(page: Page, market: str) -> None:
    page.evaluate(
        f"(m => {{ m.value = '{market}'; m.dispatchEvent(new Event('change')); }})(document.getElementById('market'))"
    )


def field(page: Page, text: str) -> None:
    page.evaluate("document.getElementById('query').focus(); document.getElementById('query').value = ''")
    page.call("Input.insertText", text=text)


def search(page: Page) -> None:
    page.evaluate("document.getElementById('status').textContent = ''")
    page.evaluate("document.querySelector('#search button').click()")
    page.wait(_ANSWERED)


def shoot(page: Page, tmp_path: Path, name: str) -> None:
    """Keep a picture where ARCHIPELAGO_SCREENSHOTS says, to be looked at."""
    folder = Path(os.environ.get("ARCHIPELAGO_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(folder / f"{name}.png")
    assert (folder / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("market", MARKETS)
def test_a_typed_query_becomes_a_ranked_page(
    page: Page, shop: Service, release: Path, market: str, width: int, tmp_path: Path
) -> None:
    page.open(f"{shop.url}/page/", width)
    page.wait(_READY)
    choose(page, market)
    page.evaluate("document.getElementById('query').focus()")
    steps, text = TYPED[market]
    page.compose(steps, text)
    assert page.evaluate("document.getElementById('query').value") == text
    title = pq.read_table(release / "catalogue.parquet").to_pandas().query(f"market == '{market}'")["title"].iloc[3]
    field(page, title[:80])  # of a tiny catalogue not every word finds something
    search(page)
    ids = page.evaluate("[...document.querySelectorAll('.facts')].map(f => f.textContent.split(' · ').pop())")
    assert 1 <= len(ids) <= 10
    assert all(item_id.startswith(market) for item_id in ids)
    page.evaluate("document.querySelector('.card summary').click()")
    page.wait("document.querySelector('.experts').textContent.startsWith('Experts asked: ')")
    why = str(page.evaluate("document.querySelector('.why').innerText"))
    assert "Unknown features: " in why
    assert "Relevance 0." in why
    assert any(expert in why for expert in ("bert-one", "bert-two", "qwen"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shoot(page, tmp_path, f"{market}-{width}")
    assert page.complaints == []
    assert all(url.startswith((shop.url, "data:")) for url in page.requested)
    scored = [url for url in page.requested if "/v2/" in url]
    served = f"{shop.url}/v2/models/%s/versions/{release.name}/infer"
    assert scored == [served % "search", served % "relevance"]


def test_the_page_shows_what_the_service_answers(page: Page, shop: Service) -> None:
    choose(page, "TH")
    query = page.evaluate("document.querySelector('#queries option').value")
    field(page, str(query))
    search(page)
    found = httpx.get(f"{shop.url}/page/candidates", params={"market": "TH", "query": str(query), "n": 20}).json()
    inputs = {
        "market": ["TH"],
        "user_id": [page.evaluate("document.getElementById('user').value")],
        "query": [query],
        "item_ids": [item["item_id"] for item in found["items"]],
    }
    tensors = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in inputs.items()]
    answer = httpx.post(f"{shop.url}/v2/models/search/infer", json={"inputs": tensors}, timeout=60).json()
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    shown = page.evaluate("[...document.querySelectorAll('.card')].map(c => [c.querySelector('.facts').textContent"
                          ".split(' · ').pop(), c.querySelector('dd').textContent])")  # fmt: skip
    assert (
        shown
        == [[item_id, f"{score:.3f}"] for item_id, score in zip(outputs["item_ids"], outputs["score"], strict=True)][
            :10
        ]
    )
    assert answer["model_version"] in str(page.evaluate("document.querySelector('h2').textContent"))


def test_enter_searches_but_not_while_an_input_method_composes(page: Page) -> None:
    choose(page, "SG")
    page.evaluate("document.getElementById('query').focus(); document.getElementById('status').textContent = ''")
    page.call("Input.imeSetComposition", text="shou ji", selectionStart=7, selectionEnd=7)
    page.press("Enter", 229)
    assert page.evaluate("document.getElementById('status').textContent") == ""
    page.call("Input.insertText", text="phone case")
    page.press("Enter", 13)
    page.wait(_ANSWERED)
    assert page.evaluate("document.getElementById('query').value") == "phone case"


def test_titles_and_errors_are_text_and_never_markup(page: Page) -> None:
    field(page, "<img src=x onerror=document.title=1>")
    search(page)
    assert page.evaluate("document.querySelectorAll('main img').length") == 0
    page.evaluate("document.getElementById('user').value = 'u'.repeat(200) + 'ก'.repeat(50)")
    choose(page, "TH")
    page.evaluate("document.getElementById('user').value = 'ก'.repeat(200)")
    field(page, str(page.evaluate("document.querySelector('#queries option').value")))
    search(page)
    assert "user_id: value 0 has 600 bytes" in str(page.evaluate("document.querySelector('.told').textContent"))


def test_a_second_service_stands_beside_the_first(page: Page, shop: Service, tmp_path: Path) -> None:
    # The same release under another origin: what matters is that another service may be asked.
    other = shop.url.replace("127.0.0.1", "localhost")
    page.open(f"{shop.url}/page/?with={other}", 1280)
    page.wait("document.getElementById('status').textContent.includes('is searched, too')")
    choose(page, "VN")
    field(page, str(page.evaluate("document.querySelector('#queries option').value")))
    search(page)
    assert page.evaluate("document.querySelectorAll('.release').length") == 2
    assert other in str(page.evaluate("document.querySelectorAll('h2')[1].textContent"))
    assert "same place there" in str(page.evaluate("document.querySelector('.facts').textContent"))
    assert any(url.startswith(f"{other}/v2/models/search/") for url in page.requested)
    shoot(page, tmp_path, "side-by-side")


def test_a_release_that_scores_relevance_alone_has_a_page_too(tiny: Tiny, tmp_path: Path) -> None:
    with (
        serve_release(tiny.relevance_only, tmp_path / "state", flags=["--page"]) as alone,
        chromium(tmp_path / "profile") as page,
    ):
        page.open(f"{alone.url}/page/", 420)
        page.wait("document.querySelectorAll('#market option').length > 0")
        choose(page, "TH")
        field(page, str(page.evaluate("document.querySelector('#queries option').value")))
        search(page)
        shown = [
            float(value)
            for value in page.evaluate("[...document.querySelectorAll('dd:first-of-type')].map(d => d.textContent)")
        ]
        assert shown
        assert shown == sorted(shown, reverse=True)
        assert page.evaluate("[...document.querySelectorAll('.card:first-child dt')].map(d => d.textContent)") == [
            "relevance"
        ]
        shoot(page, tmp_path, "relevance-only")
        assert page.complaints == []


def test_every_field_has_a_label_and_the_keyboard_reaches_all(page: Page) -> None:
    assert page.evaluate(
        "[...document.querySelectorAll('input,select')].every(e => e.labels.length && e.labels[0].textContent.trim())"
    )
    page.evaluate("document.getElementById('market').focus()")
    reached = []
    for _ in range(4):
        page.press("Tab", 9)
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached == ["user", "query", "count", "Search"]


def test_reports_are_served_read_only_in_a_sandbox(shop: Service, release: Path) -> None:
    names = httpx.get(f"{shop.url}/page/release.json").json()["reports"]
    assert names
    for name in names:
        answer = httpx.get(f"{shop.url}/page/reports/{name}.html")
        assert answer.content == (release / "reports" / f"{name}.html").read_bytes()
        assert answer.headers["content-security-policy"].startswith("sandbox")
    assert httpx.get(f"{shop.url}/page/reports/..%2fmanifest.json").status_code == 404
    assert httpx.post(f"{shop.url}/page/reports/{names[0]}.html").status_code == 405


def test_the_page_is_for_this_machine_alone(shop: Service) -> None:
    for path in ("/page/", "/page/release.json", "/page/candidates?market=TH&query=x"):
        assert httpx.get(f"{shop.url}{path}", headers={"host": "shop.example"}).status_code == 403
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    answer = httpx.options(f"{shop.url}/v2/models/search/infer", headers=asked)
    assert "access-control-allow-origin" not in answer.headers


def test_bad_questions_to_the_page_are_refused_in_the_same_shape(shop: Service) -> None:
    for parameters in ({"market": "XX", "query": "x"}, {"market": "TH"}, {"market": "TH", "query": "x", "n": "many"}):
        answer = httpx.get(f"{shop.url}/page/candidates", params=parameters)
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), answer.text
