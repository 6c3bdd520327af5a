"""Batch scoring with a trained relevance model and its experts on packs: on a GPU, what `archipelago score` runs there.

Vectors stay where the experts run until they are fused.

Shape suffixes: n pairs or queries, G trigrams, N experts, K experts chosen, D_i width of expert i.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.contracts.errors import BadInput
from components.contracts.markets import market_codes
from components.contracts.text import normalise_query, normalise_title, query_ngrams
from components.contracts.tools.device import compute_device
from components.contracts.tools.manifest import input_digest, read_manifest
from components.relevance.encoding.packed import PackedTextEncoder
from components.relevance.encoding.packed_expert import Precision
from components.relevance.encoding.texts import CutCounts
from components.relevance.encoding.tokens import TokenisingWorkers
from components.relevance.model.mixture import load_mixture
from components.relevance.model.spec import ExpertSpec, load_experts
from components.relevance.packed.packs import Pack
from components.relevance.packed.tokens import Tokens
from components.relevance.scoring.batch import BatchMixture, RawPairs, Scored

# Rows of a file that are scored at a time: pairs that come again within them are scored once.
SHARD_ROWS = 65_536
# Pieces that are prepared while one runs: enough that all workers have work.
AHEAD = 4
# Each holds every expert's tokenizer.
_MOST_WORKERS = 16
# Cores that launch the GPU's work, pack and read: what is left tokenises.
_OTHER_CORES = 2


class PackedScorer:
    """A relevance model and the `experts` directory it was trained with.

    Raises:
        BadInput: no relevance model, or the experts are not those it was trained with.
    """

    def __init__(self, model: Path, experts: Path, precision: Precision) -> None:
        if read_manifest(model)["inputs"].get("experts") != input_digest(experts):
            raise BadInput(f"{experts}: not the experts that the relevance model {model} was trained with")
        self.mixture = load_mixture(model)
        specs = {spec.name: spec for spec in load_experts(experts)}
        self.markets: Sequence[str] = self.mixture.spec.markets
        self.cut = CutCounts()
        self.digest = f"{input_digest(model)} {input_digest(experts)} {precision}"
        self.device = compute_device()
        self.mixture.router.to(self.device)
        self.mixture.fusion.to(self.device)
        folders = [(experts / name, specs[name]) for name in self.mixture.spec.experts]
        self.experts, workers = packed_pairs(folders, precision, self.cut)
        self._ngrams = workers.ngrams if workers else query_ngrams

    def score(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> Scored:
        """Relevance float32 (n,) and chosen experts int64 (n, k), best first, of n >= 1 raw pairs."""
        return self._batch().score(markets, queries, titles)

    def score_shards(self, shards: Iterable[RawPairs]) -> Iterator[Scored]:
        """The same of each shard of pairs, in order."""
        return self._batch().score_shards(shards)

    def _batch(self) -> BatchMixture:
        # Made here and not kept: it refers to this object, whose workers would then outlive it.
        return BatchMixture(
            normalise_query, normalise_title, self.route, self.experts, self.mixture.lexical.logits, self.fuse, AHEAD
        )

    @torch.inference_mode()
    def route(self, markets: Sequence[str], queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Chosen experts int64 (n, k) and mask float32 (n, N) of n normalised queries.

        Where the router gives two experts almost the same logit, a GPU may choose another one than a CPU.
        """
        sizes, codes = self.mixture.spec.router, market_codes(self.markets)
        ngrams_nG = torch.from_numpy(self._ngrams(queries, sizes.ngram_buckets, sizes.max_ngrams))
        market_n = torch.tensor([codes[market] for market in markets])
        chosen_nK, mask_nN = self.mixture.router(ngrams_nG.to(self.device), market_n.to(self.device))
        return chosen_nK.cpu().numpy(), mask_nN.cpu().numpy()

    @torch.inference_mode()
    def fuse(self, buffers: Sequence[Tensor], mask_nN: np.ndarray, lexical_n: np.ndarray) -> np.ndarray:
        """Relevance float32 (n,) of every expert's vectors (n, D_i)."""
        known = (torch.from_numpy(values).to(self.device) for values in (mask_nN, lexical_n))
        relevance_n: Tensor = self.mixture.fusion(*buffers, *known)
        return np.asarray(relevance_n.cpu().numpy())


class PackedPairs:
    """An expert behind the interface of batch scoring.

    Args:
        encoder: the expert. All are held at once: opening one takes a warm-up, which is longer than many batches.
        tokenise: (markets, queries, titles) of normalised pairs -> their tokens for this expert.
        count_cut: told of pairs that were too long.
    """

    def __init__(self, encoder: PackedTextEncoder, tokenise: Callable[..., Tokens], count_cut: CutCounts) -> None:
        self.spec = encoder.spec
        self.encoder = encoder
        self._tokenise = tokenise
        self._count_cut = count_cut

    def open(self) -> None:
        """Nothing: it is open."""

    def prepare(self, markets: Sequence[str], queries: Sequence[str], titles: Sequence[str]) -> list[Pack]:
        """Packs of normalised pairs."""
        tokens: Tokens = self._tokenise(markets, queries, titles)
        assert tokens.cut_R2 is not None
        self._count_cut(self.spec.name, markets, tokens.cut_R2)
        return self.encoder.packed(tokens)

    def buffer(self, pairs: int) -> Tensor:
        """Zeros float32 (pairs, D) on the device."""
        return torch.zeros(pairs, self.spec.dim, device=self.encoder.device)

    def run(self, batches: Sequence[Pack], rows: np.ndarray, buffer: Tensor) -> None:
        """Write their vectors into those rows; a GPU may still be at it."""
        self.encoder.run(batches, rows, buffer)


def packed_pairs(
    experts: Sequence[tuple[Path, ExpertSpec]], precision: Precision, count_cut: CutCounts
) -> tuple[list[PackedPairs], TokenisingWorkers | None]:
    """Experts, each of a folder and a spec, and the processes that tokenise for them where a GPU is to be kept busy."""
    encoders = [PackedTextEncoder(folder, spec, precision) for folder, spec in experts]
    if compute_device().type == "cpu":
        return [PackedPairs(own, own.tokenizer.tokens, count_cut) for own in encoders], None
    workers = TokenisingWorkers(experts, max(1, min(_MOST_WORKERS, len(os.sched_getaffinity(0)) - _OTHER_CORES)))
    return [PackedPairs(own, partial(workers.tokenise, slot), count_cut) for slot, own in enumerate(encoders)], workers
