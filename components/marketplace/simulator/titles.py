"""Item titles as sellers write them: facts in the market's language, code-mixing, selling phrases, spam."""

from dataclasses import dataclass

import numpy as np

from components.marketplace.simulator.lexicon.attributes import COLOURS, FEATURES
from components.marketplace.simulator.lexicon.phrases import AUDIENCE, SELLING, SPAM_PREFIXES, SPAM_SUFFIXES
from components.marketplace.simulator.lexicon.products import ProductType
from components.marketplace.simulator.world import Ways

# Languages in which a describing word stands before the noun.
ADJECTIVE_FIRST = frozenset({"en", "zh", "tl"})


@dataclass(frozen=True)
class Facts:
    """What a title or a query may state about an item; None where there is nothing to state."""

    product: ProductType
    brand: str | None
    feature: str | None
    colour: str | None
    spec: str | None


def pick(rng: np.random.Generator, forms: tuple[str, ...], usual: float) -> str:
    """The usual form with the given chance, else any form."""
    return forms[0] if rng.random() < usual else forms[int(rng.integers(len(forms)))]


def write_title(rng: np.random.Generator, facts: Facts, ways: Ways, model: str) -> str:
    """One title.

    Args:
        rng: the catalogue's stream.
        facts: what the item is.
        ways: how its market writes.
        model: a seller's own model code, empty for none.
    """

    def language() -> str:
        return ways.second if rng.random() < ways.mixing else ways.language

    noun_language = language()
    noun = pick(rng, facts.product.names[noun_language], 0.5)
    feature = pick(rng, FEATURES[facts.feature][language()], 0.6) if facts.feature else ""
    head = [feature, noun] if noun_language in ADJECTIVE_FIRST else [noun, feature]
    if facts.brand:
        head.insert(0 if rng.random() < 0.7 else len(head), facts.brand)
    colour = pick(rng, COLOURS[facts.colour][language()], 0.7) if facts.colour else ""
    tail = [facts.spec or "", colour, model]
    rng.shuffle(tail)
    # Some sellers say what there is to say, some do not stop.
    verbosity = rng.gamma(1.2)
    # A second name of the same thing, for the search engine's sake; in the second language as often as not.
    if rng.random() < 0.3 * verbosity:
        others = facts.product.names[ways.second if rng.random() < 0.5 else ways.language]
        tail.insert(0, pick(rng, tuple(name for name in others if name != noun), 0.3))
    words = " ".join(part for part in [*head, *_sayings(rng, ways, verbosity)] if part)
    return _dress(rng, _append(rng, words, [part for part in tail if part], ways), ways)


def _sayings(rng: np.random.Generator, ways: Ways, verbosity: float) -> list[str]:
    count = min(int(rng.poisson(verbosity)), 5)
    phrases = [SELLING[ways.language][i] for i in rng.permutation(len(SELLING[ways.language]))[:count]]
    if rng.random() < 0.25:
        phrases.append(pick(rng, AUDIENCE[ways.language], 0.0))
    return phrases


def _append(rng: np.random.Generator, words: str, tail: list[str], ways: Ways) -> str:
    """Sizes, colours and codes behind the words: plain, set off by punctuation, or in brackets."""
    if not tail or rng.random() > ways.punctuation:
        return " ".join([words, *tail])
    joint = (" - ", ", ", " / ", " | ")[int(rng.integers(4))]
    if rng.random() < 0.2:
        return f"{words} ({', '.join(tail)})"
    return words + joint + (joint if joint == ", " else " ").join(tail)


def _dress(rng: np.random.Generator, words: str, ways: Ways) -> str:
    """Letter case, punctuation and seller spam."""
    case = rng.random()
    if case < ways.shouting:
        words = words.upper()
    elif case < 0.6:
        words = " ".join(word[:1].upper() + word[1:] for word in words.split())
    if rng.random() < ways.promotion:
        place = rng.random()
        if place < 0.65:
            words = f"{pick(rng, SPAM_PREFIXES[ways.language], 0.0)} {words}"
        if place > 0.4:
            joint = (" - ", " | ", " ", ", ")[int(rng.integers(4))]
            words = f"{words}{joint}{pick(rng, SPAM_SUFFIXES[ways.language], 0.0)}"
    return words
