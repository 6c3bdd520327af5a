"""Packed experts and their mixture at request time: what a release's GPU models run, inside the server.

Choices (ours):

- All pairs of all requests of a batch run together, each distinct pair once, a query's pairs side by side (a causal
  expert reads what they share once).
- A call to `run` starts the GPU's work and does not wait for it, so that the next batch is prepared meanwhile.
- Texts are tokenised in the thread that prepares them, one expert after the other; tokens of items that were asked for
  lately are kept.
- Experts run side by side, on streams of their own: one with few pairs leaves room for another.
- The router runs on the CPU: it says which texts are to be tokenised, and a GPU would have to be waited for.

Needs torch, transformers, tokenizers and safetensors; no pandas and no pydantic, which a model server does not have.

Shape suffixes: n pairs, U distinct pairs, Q distinct queries, N experts, K experts chosen, R pairs of an expert, T its
tokens, G trigrams, D width of a pooled vector.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from components.contracts.errors import BadInput
from components.contracts.markets import market_codes
from components.contracts.text import normalise_query, normalise_title, query_ngrams
from components.relevance.encoding.packed_expert import Precision, packed_expert
from components.relevance.encoding.pair_tokenizer import ITEMS_KEPT, PairTokenizer
from components.relevance.encoding.texts import Pair
from components.relevance.model.expert import read_expert
from components.relevance.model.mixture import load_mixture
from components.relevance.model.spec import ExpertSpec, load_experts
from components.relevance.packed.packs import Pack
from components.relevance.packed.runner import PackedRunner
from components.relevance.packed.tokens import Tokens
from components.relevance.scoring.slots import SlotSizes

# Folder of the experts, beside the mixture's files.
EXPERTS = "experts"

Key = TypeVar("Key")


class ServedExpert:
    """One packed expert, warmed up for every pack size when it is made.

    Args:
        folder: the expert's folder (config.json, model.safetensors, tokenizer.json).
        spec: how it reads and pools.
        precision: type of the matrix products.
        sizes: tokens per pack, ascending.
        device: where it runs.

    Raises:
        BadInput: packs that cannot hold the longest text, or a precision that the device does not have.
    """

    def __init__(
        self, folder: Path, spec: ExpertSpec, precision: Precision, sizes: Sequence[int], device: torch.device
    ) -> None:
        if spec.max_tokens > sizes[-1]:
            raise BadInput(f"expert {spec.name}: texts of {spec.max_tokens} tokens do not fit packs of {sizes[-1]}")
        self.spec = spec
        self.device = device
        self._tokenizer = PairTokenizer.load(folder, spec)
        expert = read_expert(folder, spec).to(device)
        self.vocabulary = int(expert.trunk.get_input_embeddings().num_embeddings)  # type: ignore[operator]
        self._separator = spec.separator_id if spec.pooling == "segments" else None
        parts = 1 if self._separator is None else 2
        self._runner = PackedRunner(packed_expert(expert, spec, precision), parts, sizes)

    def check(self, tokens: Tokens) -> None:
        """Raise BadInput where tokens from outside are none of this expert's: a GPU that reads beyond a table is lost
        for all later requests."""
        ids_T, lengths_R = tokens.ids_T, tokens.lengths_R
        if not len(lengths_R):
            raise BadInput("lengths: empty, expected one number per pair")
        if lengths_R.min() < 1 or lengths_R.max() > self.spec.max_tokens:
            wrong = lengths_R[(lengths_R < 1) | (lengths_R > self.spec.max_tokens)][0]
            raise BadInput(f"lengths: {wrong}, expected 1 to {self.spec.max_tokens} tokens per pair")
        if lengths_R.sum() != len(ids_T):
            raise BadInput(f"ids: {len(ids_T)} tokens, but lengths add up to {lengths_R.sum()}")
        if ids_T.min() < 0 or ids_T.max() >= self.vocabulary:
            wrong = ids_T[(ids_T < 0) | (ids_T >= self.vocabulary)][0]
            raise BadInput(f"ids: {wrong}, expected 0 to {self.vocabulary - 1}")

    def tokens(self, pairs: Sequence[Pair]) -> Tokens:
        """Tokens of n >= 1 normalised pairs in this expert's template."""
        return self._tokenizer.tokens(*zip(*pairs, strict=True))

    def packed(self, tokens: Tokens) -> list[Pack]:
        """The tokens in packs, in memory that a GPU copies from while other work goes on."""
        return self._runner.packs(tokens, self._separator)

    @torch.inference_mode()
    def run(self, ready: Sequence[Pack]) -> Tensor:
        """Vectors float32 (R, D) of packed pairs, on the device."""
        vectors_RD = torch.empty(sum(len(pack.rows) for pack in ready), self.spec.dim, device=self.device)
        for pack in ready:
            vectors_RD[pack.rows[0] : pack.rows[-1] + 1] = self._runner.run(pack)
        return vectors_RD

    @torch.inference_mode()
    def write(self, ready: Sequence[Pack], rows_R: Tensor, vectors_UD: Tensor) -> None:
        """Write the vectors of packed pairs into those rows."""
        for pack in ready:
            vectors_UD[rows_R[pack.rows[0] : pack.rows[-1] + 1]] = self._runner.run(pack)


@dataclass(frozen=True)
class PreparedPairs:
    """What is known of n pairs before an expert runs.

    Attributes:
        inverse_n: each pair's index among the U distinct ones.
        chosen_nK: each pair's experts int64, best first.
        mask_UN: the mask of distinct pairs, float32.
        lexical_U: their lexical logits, float32.
        rows: for each expert, int64 (R,), which distinct pairs it reads, in the order it reads them.
        packs: for each expert, those pairs in packs.
    """

    inverse_n: np.ndarray
    chosen_nK: np.ndarray
    mask_UN: Tensor
    lexical_U: Tensor
    rows: Sequence[Tensor]
    packs: Sequence[Sequence[Pack]]


class PackedMixture:
    """A trained mixture with all its experts in memory.

    Args:
        folder: what `Mixture.save` wrote, and the folder `experts` with experts.json and one folder per expert.
        precision, sizes, device: as for `ServedExpert`.
        count_cut: called with an expert's name, the markets of the pairs it reads and `Tokens.cut_R2`.

    Attributes:
        markets: code of each market.

    Raises:
        BadInput: as `ServedExpert` says.
    """

    def __init__(
        self,
        folder: Path,
        precision: Precision,
        sizes: Sequence[int],
        device: torch.device,
        count_cut: Callable[[str, Sequence[str], np.ndarray], None] | None = None,
    ) -> None:
        mixture = load_mixture(folder)
        self._count_cut = count_cut
        self.router, self.fusion, self.lexical = mixture.router, mixture.fusion.to(device), mixture.lexical
        self.device = device
        self._sizes = mixture.spec.router
        self.markets = market_codes(mixture.spec.markets)
        self.experts = [
            ServedExpert(folder / EXPERTS / spec.name, spec, precision, sizes, device)
            for spec in load_experts(folder / EXPERTS)
        ]
        # The same items are asked for again and again.
        self._normal_title = lru_cache(ITEMS_KEPT)(normalise_title)
        self._slots = SlotSizes(self.fusion, mixture.spec.dims, device)
        streams = len(self.experts) if device.type == "cuda" else 0
        self._streams = [torch.cuda.Stream(device) for _ in range(streams)]  # type: ignore[no-untyped-call]

    def check(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> None:
        """Raise BadInput where the pairs are none, or of an unknown market."""
        if not len(markets) == len(queries) == len(titles):
            raise BadInput(f"{len(markets)} markets, {len(queries)} queries and {len(titles)} titles; must be equal")
        if not markets:
            raise BadInput("no pairs")
        for market in markets:
            if market not in self.markets:
                raise BadInput(f"unknown market {market!r} (served: {', '.join(self.markets)})")

    @torch.inference_mode()
    def prepare(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> PreparedPairs:
        """Normalise, route, tokenise for the chosen experts, pack: n >= 1 raw pairs that `check` accepts."""
        normal_query = {query: normalise_query(query) for query in dict.fromkeys(queries)}
        pairs, inverse_n = _distinct(
            (market, normal_query[query], self._normal_title(title))
            for market, query, title in zip(markets, queries, titles, strict=True)
        )
        asked, query_U = _distinct((market, query) for market, query, _ in pairs)
        chosen_QK, mask_QN = self._route(asked)
        mask_UN = mask_QN[query_U]
        order_U = np.argsort(query_U, kind="stable")
        rows = [order_U[mask_U[order_U] != 0] for mask_U in mask_UN.T]
        return PreparedPairs(
            inverse_n=inverse_n,
            chosen_nK=chosen_QK[query_U][inverse_n],
            mask_UN=torch.from_numpy(mask_UN),
            lexical_U=torch.from_numpy(self.lexical.logits(*list(zip(*pairs, strict=True))[1:])),
            rows=[torch.from_numpy(rows_R) for rows_R in rows],
            packs=[
                expert.packed(self._tokens(expert, [pairs[row] for row in rows_R])) if len(rows_R) else []
                for expert, rows_R in zip(self.experts, rows, strict=True)
            ],
        )

    @torch.inference_mode()
    def run(self, prepared: PreparedPairs) -> Tensor:
        """Relevance float32 (U,) of the distinct pairs, on the device; the next call may overwrite it, in the stream's
        order."""
        pairs = len(prepared.mask_UN)
        slots = self._slots.of(pairs)
        slots.mask_UN[:pairs].copy_(prepared.mask_UN, non_blocking=True)
        slots.lexical_U[:pairs].copy_(prepared.lexical_U, non_blocking=True)
        for place, (expert, rows_R, ready) in enumerate(zip(self.experts, prepared.rows, prepared.packs, strict=True)):
            if ready:
                with self._side_by_side(place):
                    expert.write(ready, rows_R.to(self.device, non_blocking=True), slots.vectors[place])
        for stream in self._streams:
            torch.cuda.current_stream(self.device).wait_stream(stream)
        return slots.fuse()[:pairs]

    def _tokens(self, expert: ServedExpert, pairs: Sequence[Pair]) -> Tokens:
        tokens = expert.tokens(pairs)
        if self._count_cut and tokens.cut_R2 is not None:
            self._count_cut(expert.spec.name, [market for market, _, _ in pairs], tokens.cut_R2)
        return tokens

    @contextmanager
    def _side_by_side(self, expert: int) -> Iterator[None]:
        """The expert's stream on a GPU."""
        if not self._streams:
            yield
            return
        stream = self._streams[expert]
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            yield

    def _route(self, asked: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Chosen experts int64 (Q, K), best first, and mask float32 (Q, N)."""
        ngrams_QG = query_ngrams([query for _, query in asked], self._sizes.ngram_buckets, self._sizes.max_ngrams)
        market_Q = torch.tensor([self.markets[market] for market, _ in asked])
        chosen_QK, mask_QN = self.router(torch.from_numpy(ngrams_QG), market_Q)
        return chosen_QK.numpy(), mask_QN.numpy()


def _distinct(keys: Iterable[Key]) -> tuple[list[Key], np.ndarray]:
    """Distinct keys in order of appearance, and the index of each key among them."""
    place: dict[Key, int] = {}
    inverse = [place.setdefault(key, len(place)) for key in keys]
    return list(place), np.array(inverse, dtype=np.int64)
