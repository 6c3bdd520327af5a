"""Every README tells the truth about the tree: links resolve, shown commands and paths exist, tables are up to date."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from pipelines.cli.main import app
from tests.page_tables import ROOT, TABLES, commands_of, pages, render

PAGES = pages()
_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# Languages of fenced blocks that may hold commands; "" is a block without one.
_SHELLS = ("", "bash", "sh", "console")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")
_SOURCES = ("components", "feature_repo", "manifests", "pipelines", "serving", "tests")


def without_blocks(text: str) -> str:
    return _FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """Anchors of a page as GitHub makes them: of headings, repeated ones numbered, and explicit ones."""
    text = page.read_text(encoding="utf-8")
    found: dict[str, int] = {}
    slugs = set()
    for heading in _HEADING.findall(without_blocks(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        slugs.add(f"{slug}-{count}" if count else slug)
    return slugs | set(_ANCHOR.findall(text))


def commands(text: str) -> Iterator[list[str]]:
    """The words of every shown command: lines of shell blocks, and inline code."""
    lines = _SPAN.findall(without_blocks(text))
    for _, language, block in _FENCE.findall(text):
        if language in _SHELLS:
            lines += block.replace("\\\n", " ").splitlines()
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a line of something else, with a quote of its own
        if words:
            yield words


def broken_links(text: str, page: Path) -> list[str]:
    """Relative links of a page's text that lead out of the tree, to nothing, or to no heading."""
    broken = []
    for groups in _LINK.findall(_SPAN.sub("", without_blocks(text))):
        link = groups[0] or groups[1]
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        is_there = target.is_relative_to(ROOT) and target.exists()
        if not is_there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_links_resolve(page: Path) -> None:
    assert broken_links(page.read_text(encoding="utf-8"), page) == []


def test_what_counts_as_broken() -> None:
    page = ROOT / "tests" / "README.md"
    good = "[a](../Makefile) [b](bench/) [c](#adding-a-test) [d](../serving/README.md#relevance_source) [e](https://x)"
    bad = ["absent.md", "../../outside", "#no-such-heading", "../serving/README.md#nor-this"]
    assert broken_links(good, page) == []
    assert broken_links(" ".join(f"[x]({link})" for link in bad), page) == bad


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_shown_commands_exist(page: Path) -> None:
    wrong = [" ".join(words) for words in commands(page.read_text(encoding="utf-8")) if not exists(words)]
    assert not wrong


def exists(words: list[str]) -> bool:
    """Whether a command is there; True for commands that are not the project's."""
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program == "archipelago":
        return is_known_command(rest)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return all(word in targets or "=" in word for word in before_the_shell(rest))
    if program == "pytest":
        paths = [word for word in before_the_shell(rest) if word.startswith("tests")]
        return all((ROOT / path).exists() for path in paths)
    if program in ("python", "torchrun"):
        return is_known_program(rest)
    return True


def before_the_shell(words: list[str]) -> list[str]:
    """Arguments up to the first redirection, pipe or separator."""
    marks = [place for place, word in enumerate(words) if word in (">", ">>", "<", "|", "&", "&&", "||", ";")]
    return words[: marks[0]] if marks else words


def is_known_command(words: list[str]) -> bool:
    group = get_command(app)
    known = {name for parameter in group.params for name in parameter.opts} | {"--help"}
    words = before_the_shell(words)
    while words and words[0].startswith("-"):  # the group's own options, which stand before the command
        if words[0] not in known:
            return False
        words = words[1:] if words[0] == "--help" else words[2:]
    if not words:
        return True
    by_name = dict(commands_of(group))
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in by_name), None)
    if name is None:
        return False
    command = by_name[name]
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    return all(word.partition("=")[0] in options for word in words[1:] if word.startswith("--"))


def is_known_program(words: list[str]) -> bool:
    """A script's path, or a module of the project after -m, is there; other modules and -c are not ours."""
    if "-m" in words:
        module = words[words.index("-m") + 1]
        base = ROOT / module.replace(".", "/")
        ours = (ROOT / module.partition(".")[0]).is_dir()
        return not ours or base.with_suffix(".py").is_file() or (base / "__main__.py").is_file()
    script = next((word for word in words if word.endswith(".py")), None)
    return script is None or (ROOT / script).is_file()


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_shown_paths_exist(page: Path) -> None:
    """Inline code that looks like a path of the tree is one; `*` and placeholders stand for some name."""
    absent = []
    for span in _SPAN.findall(without_blocks(page.read_text(encoding="utf-8"))):
        parts = span.strip("/").split("/")
        if len(parts) < 2 or parts[0] not in _SOURCES or not re.fullmatch(r"[\w./*-]+", span):
            continue
        if not any(ROOT.glob(span.strip("/"))):
            absent.append(span)
    assert not absent


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("archipelago run --profile P --no-serve", True),
        ("archipelago --log-level DEBUG serve R > out", True),
        ("archipelago run --fast", False),
        ("archipelago submit --wait", True),
        ("archipelago schedules sync FILE --dry-run", True),
        ("archipelago schedules delete", False),
        ("archipelago publish", False),
        ("archipelago", True),
        ("make run", True),
        ("make tables RUN=runs/x", True),
        ("make coffee", False),
        ("python tests/bench/bench_scoring.py --release R", True),
        ("python tests/absent.py", False),
        ("python -m components.relevance.tuning.job JOB", True),
        ("python -m components.absent", False),
        ("pytest tests/absent", False),
        ("kubectl apply", True),
    ],
)
def test_what_counts_as_existing(words: str, expected: bool) -> None:
    assert exists(words.split()) is expected


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_generated_tables_are_up_to_date(page: Path) -> None:
    """Else: `make tables`."""
    text = page.read_text(encoding="utf-8")
    assert render(text) == text


def test_every_generated_table_stands_in_a_page() -> None:
    together = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in TABLES if f"<!-- generated:{name} -->" not in together] == []
