"""Router and fusion together, as trained, saved and served: the mixture of paper 1 (arXiv 2602.00003).

The paper's:
- coarse-grained: a whole query goes to a few experts, each a pretrained language model
- end-to-end hard routing, the best of the three router families that it compares
- the chosen experts' vectors are concatenated, not averaged: their spaces are not aligned

Our choices, where the paper is silent:
- the router reads the query's character trigrams and the market, never the item (router.py)
- Gumbel softmax with hard choices and a straight-through gradient; a load-balance loss (router.py)
- one vector per expert and pair, of a frozen expert, or of one that was tuned alone before (expert.py, tuning/)
- one slot per expert, standardised; a learned null vector where an expert was not chosen; the mask beside the slots
  (fusion.py)
- a head with a linear part beside its layers; a logistic calibration of its logit (fusion.py)
- beside the experts a lexical one (lexical.py), whose logit joins in that calibration: it learns from few judgments

Shape suffixes: B pairs, G trigrams, N experts, K experts chosen, D_i width of expert i.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.relevance.model.fusion import ConcatFusion
from components.relevance.model.lexical import Lexical
from components.relevance.model.router import Router, new_router
from components.relevance.model.spec import MODEL_FILE, MixtureSpec

ROUTER_FILE = "router.safetensors"
FUSION_FILE = "fusion.safetensors"
LEXICAL_FILE = "lexical.npz"
MIXTURE_FILES = (MODEL_FILE, ROUTER_FILE, FUSION_FILE, LEXICAL_FILE)


@dataclass(frozen=True)
class Mixture:
    """A router, a fusion head, the spec both were built from, and the lexical expert beside them."""

    router: Router
    fusion: ConcatFusion
    spec: MixtureSpec
    lexical: Lexical

    @torch.inference_mode()
    def score(
        self, ngrams_BG: Tensor, market_B: Tensor, vectors: tuple[Tensor, ...], lexical_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Relevance float32 (B,) and chosen experts int64 (B, K), best first, from every expert's vectors (B, D_i) and
        the lexical logits (B,)."""
        chosen_BK, mask_BN = self.router(ngrams_BG, market_B)
        return self.fusion(*vectors, mask_BN, lexical_B), chosen_BK

    def save(self, directory: Path) -> None:
        """Write MIXTURE_FILES."""
        self.spec.save(directory / MODEL_FILE)
        self.lexical.save(directory / LEXICAL_FILE)
        for module, name in ((self.router, ROUTER_FILE), (self.fusion, FUSION_FILE)):
            save_file({key: value.contiguous() for key, value in module.state_dict().items()}, directory / name)


def new_mixture(spec: MixtureSpec) -> Mixture:
    """A mixture with fresh weights."""
    return Mixture(new_router(spec), ConcatFusion(spec), spec, Lexical.silent())


def load_mixture(directory: Path) -> Mixture:
    """Read what `Mixture.save` wrote, in evaluation mode."""
    spec = MixtureSpec.load(directory / MODEL_FILE)
    lexical = Lexical.load(directory / LEXICAL_FILE)
    mixture = Mixture(new_router(spec), ConcatFusion(spec), spec, lexical)
    mixture.router.load_state_dict(load_file(directory / ROUTER_FILE))
    mixture.fusion.load_state_dict(load_file(directory / FUSION_FILE))
    mixture.router.eval().requires_grad_(False)
    mixture.fusion.eval().requires_grad_(False)
    return mixture
