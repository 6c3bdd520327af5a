"""Relevance of raw texts in plain PyTorch: the reference that serving must equal.

Shape suffixes: n or B pairs, N experts, K experts chosen, D width of a vector.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from components.contracts.errors import BadInput
from components.contracts.markets import market_codes
from components.contracts.text import query_ngrams
from components.relevance.encoding.padded import TextEncoder
from components.relevance.encoding.texts import normal_pairs
from components.relevance.model.mixture import Mixture, load_mixture
from components.relevance.model.spec import load_experts


class ReferenceScorer:
    """The torch float32 reference: raw texts in, relevance out; only the experts that a query chose are run."""

    def __init__(self, mixture: Mixture, encoders: Sequence[TextEncoder]) -> None:
        self.mixture = mixture
        self.encoders = encoders

    @classmethod
    def load(cls, model: Path, experts: Path) -> "ReferenceScorer":
        """From a relevance model's directory and the `experts` directory it was trained with."""
        mixture = load_mixture(model)
        specs = {spec.name: spec for spec in load_experts(experts)}
        missing = [name for name in mixture.spec.experts if name not in specs]
        if missing:
            raise BadInput(f"{experts}: lacks the model's expert {', '.join(missing)}")
        return cls(mixture, [TextEncoder(experts / name, specs[name]) for name in mixture.spec.experts])

    @torch.inference_mode()
    def score(
        self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Relevance float32 (n,) and chosen experts int64 (n, k), best first, of n raw (not normalised) pairs.

        A pair's answer does not depend on the others of the call, to about 1e-6.
        """
        if not len(markets) == len(queries) == len(titles):
            raise BadInput(f"{len(markets)} markets, {len(queries)} queries, {len(titles)} titles: lengths differ")
        if not len(markets):
            return np.empty(0, dtype=np.float32), np.empty((0, self.mixture.spec.top_k), dtype=np.int64)
        codes = torch.from_numpy(market_column(self.mixture, pd.Series(list(markets)), "markets"))
        sizes = self.mixture.spec.router
        pairs = normal_pairs(markets, queries, titles)
        ngrams = torch.from_numpy(query_ngrams([query for _, query, _ in pairs], sizes.ngram_buckets, sizes.max_ngrams))
        chosen_BK, mask_BN = self.mixture.router(ngrams, codes)
        vectors = []
        for slot, encoder in enumerate(self.encoders):
            vectors_BD = torch.zeros(len(pairs), encoder.spec.dim)
            rows = np.flatnonzero(mask_BN[:, slot].numpy())
            if len(rows):
                vectors_BD[rows] = torch.from_numpy(encoder.encode_pairs([pairs[row] for row in rows]))
            vectors.append(vectors_BD)
        _, normal_queries, normal_titles = zip(*pairs, strict=True)
        lexical_B = torch.from_numpy(self.mixture.lexical.logits(normal_queries, normal_titles))
        return self.mixture.fusion(*vectors, mask_BN, lexical_B).numpy(), chosen_BK.numpy()


def market_column(mixture: Mixture, markets: pd.Series, where: str) -> np.ndarray:
    """Codes int64 (n,) of markets that the mixture knows; BadInput if a market is unknown."""
    known = market_codes(mixture.spec.markets)
    codes = markets.map(known)
    if codes.isna().any():
        unknown = markets[codes.isna()].iloc[0]
        raise BadInput(
            f"{where}: column market: {int(codes.isna().sum())} of {len(markets)} rows are not one of "
            f"{', '.join(known)} (first: {unknown!r})"
        )
    return codes.to_numpy().astype(np.int64)
