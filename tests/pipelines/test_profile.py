"""Profiles: strict, mergeable, and clear about what is wrong."""

from pathlib import Path

import pytest

from components.contracts.errors import BadInput
from pipelines.profile import load_profile, profile_names


@pytest.mark.parametrize("name", profile_names())
def test_built_in_profiles_load(name: str) -> None:
    assert load_profile(name).name == name


def test_a_profile_extends_another_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: laptop\nmarkets: [AR, DE]\nrelevance: {top_k: 1}\n")
    profile, base = load_profile(str(path)), load_profile("laptop")
    assert profile.name == "mine"
    assert profile.markets == ("AR", "DE")
    assert profile.relevance.top_k == 1
    assert profile.relevance.experts == base.relevance.experts
    assert profile.ranking == base.ranking


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("relevance: {top_kk: 1}", "relevance.top_kk"),
        ("relevance: {top_k: many}", "relevance.top_k"),
        ("markets: []", "markets"),
        ("markets: [NO, SE, DK]", r"markets: .*YAML reads a market as False: put it in quotes"),
        ("- a list", "mapping"),
        ("{unclosed", "YAML"),
        ("extends: nowhere", "nowhere"),
    ],
)
def test_a_bad_profile_is_named_with_its_key(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(BadInput, match=message):
        load_profile(str(path))


def test_a_profile_that_extends_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(f"extends: {path}\n")
    with pytest.raises(BadInput, match="extends itself"):
        load_profile(str(path))


def test_profiles_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_profile("laptop").name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "precision"),
    [
        ("relevance: {precision: float8}", "float8"),
        ("relevance: {precision: float8}\nrelease: {micro_batch: 8}", "float8"),
        ("relevance: {precision: float8}\nrelease: {precision: bfloat16}", "bfloat16"),
        ("relevance: {precision: float32}", "bfloat16"),
        ("markets: [TH]", "bfloat16"),
    ],
)
def test_a_gpu_serves_in_the_precision_that_pairs_are_scored_in(tmp_path: Path, content: str, precision: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content)
    assert load_profile(str(path)).release.precision == precision


def test_a_wrong_section_is_still_named(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("relevance: {precision: float8}\nrelease: 3")
    with pytest.raises(BadInput, match="release"):
        load_profile(str(path))
