"""Titles and queries in each market's languages: scripts, code-mixing, spam, paraphrases, typos."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.contracts.text import normalise_query
from components.marketplace.config import MarketplaceConfig
from components.marketplace.simulator.catalogue import make_catalogue
from components.marketplace.simulator.lexicon.attributes import BRANDS, COLOURS, FEATURES
from components.marketplace.simulator.lexicon.phrases import SELLING, SPAM_PREFIXES, SPAM_SUFFIXES
from components.marketplace.simulator.lexicon.products import PRODUCT_TYPES
from components.marketplace.simulator.lexicon.tables import LANGUAGES, parse_concepts
from components.marketplace.simulator.queries import make_queries
from components.marketplace.simulator.typos import mistype, strip_diacritics
from components.marketplace.simulator.world import WAYS, cumulative, draw_rows, make_ids, stream

THAI, HAN, VIETNAMESE = r"[\u0e00-\u0e7f]", r"[\u4e00-\u9fff]", r"[ăâđêôơưạ-ỹ]"
CONFIG = MarketplaceConfig(items=400)


def titles(market: str) -> pd.Series:
    return pd.Series(make_catalogue(CONFIG, market).titles)


def share(texts: pd.Series, pattern: str) -> float:
    return float(texts.str.lower().str.contains(pattern, regex=True).mean())


def any_of(phrases: tuple[str, ...]) -> str:
    return "|".join(re.escape(phrase.lower()) for phrase in phrases)


def test_every_market_writes_in_its_own_script_with_some_mixing() -> None:
    assert share(titles("TH"), THAI) > 0.95
    assert 0.3 < share(titles("TH"), "[a-z]{3,}") < 0.95
    assert share(titles("VN"), VIETNAMESE) > 0.95
    assert 0.1 < share(titles("SG"), HAN) < 0.5
    for market in ("ID", "MY", "PH"):
        assert share(titles(market), HAN) == share(titles(market), THAI) == 0


@pytest.mark.parametrize("market", sorted(WAYS))
def test_titles_carry_spam_brands_and_facts(market: str) -> None:
    catalogue = make_catalogue(CONFIG, market)
    found = pd.Series(catalogue.titles)
    language = WAYS[market].language
    spam = share(found, any_of(SPAM_PREFIXES[language] + SPAM_SUFFIXES[language]))
    assert 0.05 < spam < 0.6
    assert share(found, any_of(SELLING[language])) > 0.3
    items = catalogue.table().to_pandas()
    branded = items.dropna(subset="brand")
    assert 0.4 < len(branded) / len(items) < 0.8
    assert all(brand.lower() in title.lower() for brand, title in zip(branded["brand"], branded["title"], strict=True))
    assert found.is_unique or found.duplicated().mean() < 0.05
    assert found.str.len().between(5, 300).all()


@pytest.mark.parametrize("market", sorted(WAYS))
def test_queries_are_distinct_and_come_in_several_languages(market: str) -> None:
    catalogue = make_catalogue(CONFIG, market)
    queries = make_queries(CONFIG, catalogue)
    assert len({normalise_query(text) for text in queries.texts}) == CONFIG.queries
    assert set(queries.languages) == set(WAYS[market].query_languages)
    assert len(set(queries.type_Q)) > 10, "many kinds of product are searched"
    assert pd.Series(queries.type_Q).value_counts().max() > 1, "and some in several ways"
    assert queries.frequency_PQ.sum(axis=1) == pytest.approx(1)
    assert ((queries.level_QP == 3).sum(axis=1) >= 1).all(), "every want can be met"
    assert ((queries.level_QP == 0).sum(axis=1) >= 1).all(), "every pool has something irrelevant"
    assert (np.sort(queries.pool_QP, axis=1)[:, 1:] != np.sort(queries.pool_QP, axis=1)[:, :-1]).all()


def test_slips_of_the_finger_are_as_many_as_told() -> None:
    exact, slips = (
        make_queries(config, make_catalogue(config, "ID"))
        for config in (CONFIG.model_copy(update={"typos": 0.0}), CONFIG.model_copy(update={"typos": 1.0}))
    )
    words = {
        word
        for product in PRODUCT_TYPES
        for language in ("id", "en")
        for form in product.names[language]
        for word in normalise_query(form).split()
    }
    known = [np.mean([bool(words & set(normalise_query(text).split())) for text in q.texts]) for q in (exact, slips)]
    assert known[0] == 1, "every query names a kind of product"
    assert known[1] < 0.95


def test_lexicon_is_complete() -> None:
    for product in PRODUCT_TYPES:
        assert set(product.names) == set(LANGUAGES)
        assert all(len(set(forms)) == len(forms) >= 2 for forms in product.names.values()), product.key
        assert set(product.features) <= set(FEATURES)
        assert product.category in BRANDS
        assert product.price > 0
        assert product.specs
    assert {len(COLOURS), len(BRANDS)} == {8, 10}
    for ways in WAYS.values():
        assert sum(ways.query_languages.values()) == pytest.approx(1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_name_stands_for_two_products(language: str) -> None:
    names = [form.lower() for product in PRODUCT_TYPES for form in product.names[language]]
    assert len(set(names)) == len(names)


def test_concept_tables_refuse_gaps() -> None:
    with pytest.raises(ValueError, match="empty cell"):
        parse_concepts("red | a | b | | d | e | f | g")
    with pytest.raises(ValueError, match="argument"):
        parse_concepts("red | a | b")


def test_vietnamese_typos_lose_diacritics() -> None:
    assert strip_diacritics("tai nghe không dây màu đen") == "tai nghe khong day mau den"


@pytest.mark.parametrize(
    ("text", "language"), [("kabel charger", "id"), ("หูฟังบลูทูธ", "th"), ("无线耳机", "zh"), ("loa bluetooth", "vi")]
)
def test_typos_are_small_and_keep_the_start(text: str, language: str) -> None:
    rng = np.random.default_rng(0)
    slips = {mistype(rng, text, language) for _ in range(50)}
    assert slips - {text}
    for slip in slips:
        assert abs(len(slip) - len(text)) <= 1
        assert slip[0] == text[0]


def test_a_text_too_short_to_spoil_stays() -> None:
    assert mistype(np.random.default_rng(0), "tv", "en") == "tv"
    assert mistype(np.random.default_rng(0), "5 10", "id") == "5 10"


def test_streams_are_independent_and_repeatable() -> None:
    first = stream(1, "ID", "users").random(4)
    assert (first == stream(1, "ID", "users").random(4)).all()
    for other in (stream(2, "ID", "users"), stream(1, "MY", "users"), stream(1, "ID", "queries")):
        assert (first != other.random(4)).all()


def test_rows_are_drawn_with_their_own_weights() -> None:
    weights = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    rows = np.repeat([0, 1], 2000)
    drawn = draw_rows(cumulative(weights), rows, np.random.default_rng(0).random(4000))
    assert set(drawn[:2000]) == {0, 2}
    assert np.mean(drawn[:2000] == 0) == pytest.approx(0.5, abs=0.05)
    assert set(drawn[2000:]) == {1}


def test_ids_are_padded() -> None:
    assert make_ids("TH-i", 3, 5).to_pylist() == ["TH-i00000", "TH-i00001", "TH-i00002"]


def spam_rate(texts: pd.Series, pattern: str) -> float:
    return float(texts.str.contains(pattern, regex=True, case=False).mean())


REAL_SPAM = {
    "VN": "giá rẻ|siêu rẻ|freeship|tặng|sale|hot|cao cấp|chính hãng|bảo hành|mã giảm|hàng loại 1",
    "ID": "promo|murah|best seller|garansi|gratis|ready|grosir|original|cod|termurah",
}


def real_items(shared_data: Path, market: str) -> pd.DataFrame:
    """Distinct real titles and prices."""
    if market == "VN":
        files = sorted((shared_data / "tiki_vi").glob("*.csv.gz"))
        items = pd.concat([pd.read_csv(path) for path in files]).rename(columns={"name": "title"})
    else:
        items = pd.read_csv(shared_data / "prdect_id" / "PRDECT-ID.csv.gz", sep=";")
        items = items.rename(columns={"Product Name": "title", "Price": "price"})
    return items.drop_duplicates("title").query("price > 0")


@pytest.mark.parametrize("market", ["VN", "ID"])
def test_titles_and_prices_resemble_real_ones(market: str, shared_data: Path) -> None:
    """Tiki sells bags and shoes and Tokopedia everything, so tolerances are wide: they state what is claimed."""
    real = real_items(shared_data, market)
    simulated = make_catalogue(MarketplaceConfig(items=2000), market).table().to_pandas()
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        lengths = [frame["title"].str.len().quantile(quantile) for frame in (real, simulated)]
        assert lengths[1] == pytest.approx(lengths[0], rel=0.25), quantile
    words = [frame["title"].str.split().str.len().mean() for frame in (real, simulated)]
    assert words[1] == pytest.approx(words[0], rel=0.15)
    for pattern, tolerance in (
        (REAL_SPAM[market], 0.1),
        (r"\d", 0.15),
        (r"[\[\](){}|/,!+\-]", 0.15),
        (r"\b(?:mini|bag|case|style|premium|wireless|bluetooth|black|white|leather|usb|for|and|pro|set)\b", 0.12),
    ):
        rates = [spam_rate(frame["title"], pattern) for frame in (real, simulated)]
        assert rates[1] == pytest.approx(rates[0], abs=tolerance), pattern
    shouting = [(frame["title"] == frame["title"].str.upper()).mean() for frame in (real, simulated)]
    assert shouting[1] == pytest.approx(shouting[0], abs=0.05)
    log_prices = [np.log(frame["price"]) for frame in (real, simulated)]
    assert log_prices[1].median() == pytest.approx(log_prices[0].median(), abs=0.4)
    assert log_prices[1].std() == pytest.approx(log_prices[0].std(), rel=0.25)
    # Half of the market's accented or plain spelling is its own: no ASCII-only Vietnamese.
    assert simulated["title"].map(str.isascii).mean() == pytest.approx(real["title"].map(str.isascii).mean(), abs=0.05)
