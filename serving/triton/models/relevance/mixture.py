"""The mixture of experts at request time: tokenise, route, run the chosen experts alone, fuse.

Pure computation over a `run` function that calls a named model, so that the same code answers inside Triton and in
offline scoring. Runs in Triton's own Python: numpy (1 or 2) and tokenizers alone.

Shapes: n pairs, B pairs of a batch, T tokens, G trigrams, k chosen of N experts, D_i width of expert i.
"""

import json
from functools import lru_cache

import numpy as np
from tokenizers import Tokenizer

from components.relevance.encoding.pair_tokenizer import ITEMS_KEPT, PairTokenizer
from components.relevance.model.lexical import Lexical


class Expert:
    """One expert's tokenizer and limits."""

    def __init__(self, folder, settings):
        self.model = settings["model"]
        self.dim = settings["dim"]
        self.pad_id = settings["pad_id"]
        tokenizer = Tokenizer.from_file(str(folder / settings["tokenizer"]))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.pairs = PairTokenizer(tokenizer, settings["template"], settings["max_tokens"])

    def encode(self, run, tokens, micro_batch):
        """Vectors float32 (n, D) of n pairs' tokens, computed in micro-batches of similar length."""
        ids = tokens.lists()
        vectors_nD = np.zeros((len(ids), self.dim), dtype=np.float32)
        order = np.argsort([len(row) for row in ids], kind="stable")
        for start in range(0, len(order), micro_batch):
            rows = order[start : start + micro_batch]
            longest = max(1, len(ids[rows[-1]]))
            ids_BT = np.full((len(rows), longest), self.pad_id, dtype=np.int64)
            mask_BT = np.zeros((len(rows), longest), dtype=np.int64)
            for line, row in enumerate(rows):
                ids_BT[line, : len(ids[row])] = ids[row]
                mask_BT[line, : len(ids[row])] = 1
            (vectors_nD[rows],) = run(self.model, {"input_ids": ids_BT, "attention_mask": mask_BT}, ["pooled"])
        return vectors_nD


class ServedMixture:
    """Scores pairs as `settings.json` in its folder says.

    Args:
        folder: holds settings.json, the tokenizers it names and lexical.npz.
        run: (model name, {input: array}, [outputs]) -> list of arrays; raises on failure.
        text: the module of text functions that training used (a copy lies beside this file).
        count_cut: called with an expert's model, the markets of the pairs it reads and `Tokens.cut_R2`.
    """

    def __init__(self, folder, run, text, count_cut):
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self.run = run
        self.text = text
        self.markets = {market: code for code, market in enumerate(settings["markets"])}
        self.router = settings["router"]
        self.micro_batch = settings["micro_batch"]
        self.experts = [Expert(folder, expert) for expert in settings["experts"]]
        self.lexical = Lexical.load(folder / "lexical.npz")
        self.count_cut = count_cut
        # The same items are asked for again and again.
        self.normal_title = lru_cache(ITEMS_KEPT)(text.normalise_title)

    def score(self, markets, queries, titles):
        """Relevance float32 (n,) and chosen experts int64 (n, k), best first, of n pairs.

        Raises:
            ValueError: a market is unknown, or the lists differ in length.
        """
        if not len(markets) == len(queries) == len(titles):
            raise ValueError(f"{len(markets)} markets, {len(queries)} queries and {len(titles)} titles; must be equal")
        unknown = sorted(set(markets) - set(self.markets))
        if unknown:
            raise ValueError(f"unknown market {unknown[0]!r} (served: {', '.join(self.markets)})")
        experts_nk, mask_nN = self.route(markets, queries)
        normal = {query: self.text.normalise_query(query) for query in dict.fromkeys(queries)}
        queries, titles = [normal[query] for query in queries], [self.normal_title(title) for title in titles]
        vectors = []
        for slot, expert in enumerate(self.experts):
            vectors_nD = np.zeros((len(queries), expert.dim), dtype=np.float32)
            rows = np.flatnonzero(mask_nN[:, slot])
            if len(rows):
                own = [[column[row] for row in rows] for column in (markets, queries, titles)]
                tokens = expert.pairs.tokens(*own)
                self.count_cut(expert.model, own[0], tokens.cut_R2)
                vectors_nD[rows] = expert.encode(self.run, tokens, self.micro_batch)
            vectors.append(vectors_nD)
        feeds = {f"pooled_{slot}": vectors_nD for slot, vectors_nD in enumerate(vectors)}
        lexical_n = self.lexical.logits(queries, titles)
        (relevance_n,) = self.run("fusion", {**feeds, "mask": mask_nN, "lexical": lexical_n}, ["relevance"])
        return relevance_n, experts_nk

    def route(self, markets, queries):
        """Experts int64 (n, k), best first, and mask float32 (n, N) of n queries."""
        ngrams_nG = self.text.query_ngrams(queries, self.router["ngram_buckets"], self.router["max_ngrams"])
        market_n = np.array([self.markets[market] for market in markets], dtype=np.int64)
        return self.run("router", {"ngrams": ngrams_nG, "market": market_n}, ["experts", "mask"])
