"""Fresh networks of what is compared: routed mixtures, and heads on one expert."""

from dataclasses import replace

import torch

from components.relevance.config import VariantConfig
from components.relevance.model.fusion import SingleExpert, new_fusion
from components.relevance.model.routed import Alone, Routed
from components.relevance.model.router import new_router
from components.relevance.model.spec import MixtureSpec


def variant_spec(variant: VariantConfig, spec: MixtureSpec) -> MixtureSpec:
    """The mixture's spec with the variant's router and number of experts."""
    top_k = len(spec.experts) if variant.router == "soft" else variant.top_k or spec.top_k
    return replace(spec, top_k=top_k, router=replace(spec.router, kind=variant.router))


def build_routed(variant: VariantConfig, spec: MixtureSpec, seed: int) -> Routed:
    """A fresh network of a variant; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = variant_spec(variant, spec)
        return Routed(new_router(own), new_fusion(variant.fusion, own))


def build_single(spec: MixtureSpec, slot: int, seed: int, dim: int | None = None) -> Alone:
    """A fresh head on one expert's vectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Alone(SingleExpert(spec, slot, dim))
