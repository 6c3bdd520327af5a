"""How the simulator's word lists are written down: one line per concept, one column per language."""

from collections.abc import Mapping

LANGUAGES = ("id", "ms", "tl", "en", "zh", "th", "vi")

Forms = Mapping[str, tuple[str, ...]]


def parse_concepts(text: str) -> dict[str, Forms]:
    """Concept -> language -> its surface forms, the usual one first.

    A line reads ``concept | id | ms | tl | en | zh | th | vi``; forms in a cell are separated by ``;``.

    Raises:
        ValueError: a line has the wrong number of columns or an empty cell.
    """
    concepts: dict[str, Forms] = {}
    for line in text.strip().splitlines():
        concept, *cells = (cell.strip() for cell in line.split("|"))
        forms = {
            language: tuple(form.strip() for form in cell.split(";"))
            for language, cell in zip(LANGUAGES, cells, strict=True)
        }
        if not all(form for language in forms.values() for form in language):
            raise ValueError(f"empty cell: {line}")
        concepts[concept] = forms
    return concepts


def parse_phrases(text: str) -> dict[str, tuple[str, ...]]:
    """Language -> its phrases, from lines that read ``language | phrase | phrase | ...``."""
    phrases = {}
    for line in text.strip().splitlines():
        language, *cells = (cell.strip() for cell in line.split("|"))
        phrases[language] = tuple(cells)
    return phrases
