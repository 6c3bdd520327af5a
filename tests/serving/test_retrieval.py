"""Retrieval: tokens in six markets' scripts, and the order and bounds of what comes back."""

import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import BadInput
from components.contracts.tables import write_table
from components.contracts.text import normalise_query
from components.contracts.tools.manifest import write_manifest
from serving.retrieval import retrieve
from serving.search_tokens import exact_tokens, folded, folded_tokens
from tests.serving.faults.faulty import reseal

ITEMS = [
    ("a1", "ID", "Casing HP transparan iPhone 15", 30000.0),
    ("a2", "ID", "Sepatu lari wanita ringan", 150000.0),
    ("a3", "ID", "Casing HP casing kulit", 45000.0),
    ("t1", "TH", "เคสโทรศัพท์ซิลิโคน กันกระแทก", 99.0),
    ("t2", "TH", "รองเท้าวิ่งผู้หญิง", 890.0),
    ("t3", "TH", "!!!", 1.0),
    ("s1", "SG", "手机壳 防摔 iPhone15 case", None),
    ("v1", "VN", "Ốp lưng điện thoại Samsung", 50000.0),
    ("v2", "VN", "Giày thể thao nữ", 250000.0),
    ("s2", "SG", "running shoes", None),
]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("release")
    columns = dict(zip(("item_id", "market", "title", "price"), map(list, zip(*ITEMS, strict=True)), strict=True))
    nothing = pa.nulls(len(ITEMS), pa.string())
    write_table(pa.table(columns | {"category": nothing, "brand": nothing}), root / "catalogue.parquet")
    write_manifest(root, "relevance-release", {}, {}, markets=["ID", "TH", "SG", "VN", "PH"], experts=[])
    reseal(root)
    return root


def ids(release: Path, market: str, query: str, n: int = 10) -> list[str]:
    return [item.item_id for item in retrieve(release, market, query, n)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Ốp lưng  điện-thoại", ["ốp", "lưng", "điện", "thoại"]),
        ("เคสมือถือ", ["เค", "คส", "สม", "มื", "ือ", "อถ", "ถื", "ือ", "เคส", "คสม", "สมื", "มือ", "ือถ", "อถื", "ถือ"]),
        ("ชั้น iPhone15", ["ชั", "ั้", "้น", "ชั้", "ั้น", "iphone15"]),
        ("手机壳女", ["手机", "机壳", "壳女"]),
        ("ＡＢＣ", ["abc"]),
        ("女", ["女"]),
        ("!? -", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert list(exact_tokens(text)) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Điện thoại", ["dien", "thoai", "dienthoai"]),
        ("power-bank 20000mAh", ["power", "bank", "powerbank", "20000", "bank20000", "mah", "20000mah"]),
        ("Qur'an Señor", ["quran", "senor", "quransenor"]),
        ("ไม้ ๑๕", ["ไม", "15"]),
        ("手机 壳", ["手", "机", "手机", "壳"]),
    ],
)
def test_folded_tokens(text: str, tokens: list[str]) -> None:
    assert list(folded_tokens(text)) == tokens


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_folding_is_of_the_normal_form(text: str) -> None:
    assert folded(normalise_query(text)) == folded(text)
    assert list(exact_tokens(normalise_query(text))) == list(exact_tokens(text))


@pytest.mark.parametrize(
    ("market", "typed"),
    [
        ("ID", ["casing iphone 15", "casing iphone15", "ca\u200bsing iphone-15", "CASING\xa0IPHONE 15"]),
        ("TH", ["รองเท้า", "รองเทา", "รองเท\u200bา\u0e49", "รองเท\u0e49า"]),
        ("SG", ["手机", "手机壳", "手 机", "iphone 15 case"]),
        ("VN", ["ốp lưng điện thoại", "op lung dien thoai", "ốp lưng điện thoại".upper(), "oplung dienthoai"]),
    ],
)
def test_what_is_meant_is_found_however_it_is_typed(release: Path, market: str, typed: list[str]) -> None:
    assert {tuple(ids(release, market, query)[:1]) for query in typed} == {
        {"ID": ("a1",), "TH": ("t2",), "SG": ("s1",), "VN": ("v1",)}[market]
    }


@pytest.mark.parametrize("zero_width", ["\u200b", "\ufeff", "\u200e", "\xad", "\u2060"])
def test_zero_width_characters_change_no_candidate_and_no_score(release: Path, zero_width: str) -> None:
    assert retrieve(release, "ID", f"ca{zero_width}sing hp", 10) == retrieve(release, "ID", "casing hp", 10)


@pytest.mark.parametrize(
    ("query", "message"),
    [("\u200b \xad", "blank"), ("น้ำ" * 170, "at most 512 in normal form"), ("ca\udcffsing", "not UTF-8 text")],
)
def test_a_query_that_no_service_would_answer_is_refused(release: Path, query: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        retrieve(release, "TH", query, 10)


def test_a_market_sees_its_own_items_best_first(release: Path) -> None:
    assert ids(release, "ID", "casing hp") == ["a3", "a1"]
    assert ids(release, "TH", "เคสโทรศัพท์") == ["t1"]
    assert ids(release, "TH", "รองเท้าผู้หญิง") == ["t2"]
    assert ids(release, "SG", "手机壳") == ["s1"]


def test_normalisation_is_the_query_keys(release: Path) -> None:
    assert ids(release, "ID", "  CASING ＨＰ ") == ids(release, "ID", "casing hp")


def test_scores_fall_and_n_bounds_them(release: Path) -> None:
    found = retrieve(release, "ID", "casing sepatu wanita hp", 10)
    scores = [item.bm25 for item in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) == 3
    assert retrieve(release, "ID", "casing sepatu wanita hp", 2) == found[:2]


def test_nothing_matches_nothing(release: Path) -> None:
    assert ids(release, "ID", "zzz") == []
    assert ids(release, "ID", "???") == []


def test_items_carry_title_and_price(release: Path) -> None:
    (item,) = retrieve(release, "ID", "sepatu", 1)
    assert (item.title, item.price) == ("Sepatu lari wanita ringan", 150000.0)
    assert math.isnan(retrieve(release, "SG", "shoes", 1)[0].price)


def test_markets_must_be_served_and_stocked(release: Path) -> None:
    with pytest.raises(BadInput, match="market 'MY' is not served"):
        retrieve(release, "MY", "casing", 1)
    with pytest.raises(BadInput, match="no items of market PH"):
        retrieve(release, "PH", "casing", 1)


def test_only_releases_are_searched(tmp_path: Path) -> None:
    write_manifest(tmp_path, "log", {}, {})
    with pytest.raises(BadInput, match="not a release"):
        retrieve(tmp_path, "ID", "casing", 1)
