"""Text as every stage and the server must see it: normalisation, templates, keys and portable hashes.

A release carries a copy of this file beside its Triton models, so that serving hashes and formats text exactly as
training did. It therefore depends on the standard library and numpy (1 or 2) alone.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

MAX_QUERY_CHARS = 512
MAX_TITLE_CHARS = 2048
PAD_BUCKET = 0


def normalise_title(text: str) -> str:
    """NFKC with every run of whitespace as one space; case is kept."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def normalise_query(text: str) -> str:
    """The form under which a query is keyed, stored and scored: a normalised title in lower case."""
    # Once more, because lower case may compose where upper case did not: normalising twice must change nothing.
    return normalise_title(normalise_title(text).lower())


def query_key(market: str, query: str) -> str:
    """Join key of a query: market and normalised text, e.g. ``TH:เคสมือถือ``."""
    return f"{market}:{normalise_query(query)}"


def format_pair(template: str, market: str, query: str, title: str) -> str:
    """One expert's input text.

    `template` has the fields {market}, {query} and {item}, query first so that a query's items share a prefix
    (our choice).
    """
    return format_normal_pair(template, market, normalise_query(query), normalise_title(title))


def format_normal_pair(template: str, market: str, query: str, title: str) -> str:
    """The same of texts that are normalised already, for those who have many."""
    return template.format(market=market, query=query, item=title)


def stable_bucket(values: Iterable[str], buckets: int) -> np.ndarray:
    """Buckets 1..buckets-1 of the strings, equal on every platform and engine (md5, first 8 bytes, big-endian).

    Bucket 0 means "absent or unknown" and is never the hash of a value. Returns int64 of shape (n,).
    """
    codes = [
        int.from_bytes(hashlib.md5(value.encode(), usedforsecurity=False).digest()[:8], "big") % (buckets - 1) + 1
        for value in values
    ]
    return np.array(codes, dtype=np.int64)


def query_ngrams(queries: Sequence[str], buckets: int, max_ngrams: int) -> np.ndarray:
    """Hashed character trigrams of normalised queries: what the router reads besides the market (our choice).

    Queries are padded with a space on both sides, so that one-character queries have a trigram. Returns int64 of
    shape (n, max_ngrams), 0 where a query has fewer.
    """
    padded = [f" {normalise_query(query)} " for query in queries]
    grams = [[text[i : i + 3] for i in range(max(1, len(text) - 2))][:max_ngrams] for text in padded]
    # Many queries share most of their trigrams: each is hashed once.
    distinct = dict.fromkeys(gram for own in grams for gram in own)
    bucket = dict(zip(distinct, stable_bucket(distinct, buckets).tolist(), strict=True))
    ids = np.zeros((len(queries), max_ngrams), dtype=np.int64)
    for row, own in enumerate(grams):
        ids[row, : len(own)] = [bucket[gram] for gram in own]
    return ids
