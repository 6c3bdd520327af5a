"""The rankers: HHSFT, HHFI alone, and the DLRM-MLP baseline, behind one signature.

The paper's (UniScale, arXiv 2603.24226):
- tokens of five feature groups; HFA, then GFA, make one vector of a sample: HHFI (hhfi.py)
- DREF: a shared expert and one per domain, weighed by the domain's gate (esuif.py)
- DAPGA: attention of the own domain's expert to all, with a stop-gradient on the others; one head and loss per domain

Our choices, where the paper is silent:
- all widths and depths, layer norms in front of attention and feed-forward, a low-rank map in front of GFA (hhfi.py)
- a behaviour sequence is pooled by attention to the candidate, and each behaviour type has a token (encoder.py)
- click and purchase are two outputs of each head, both unconditional; the domains' losses have weights (config.py)
- the baseline reads the same encoder, so that only the interaction of features differs; HHFI under a single head shows
  what the domain parts add

Every ranker maps (numeric (B, F), categorical (B, C), sequences (B, S, L)) to logits (B, 2): click and purchase, both
unconditional, of the domain that the row's `domain_code` states.

Shape suffixes: B batch, F numeric features, C categorical features, S sequences, L sequence length, T tokens, D token
width, Z sample width, V vectors that interact, P pairs of them, M pooled pair and matches of a behaviour, E embedding
width, K domains, Y outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.contracts.features import CATEGORICAL, NUMERIC
from components.contracts.markets import DOMAINS
from components.ranking.model.encoder import BEHAVIOURS, CATEGORICAL_COLUMN, FeatureEncoder, matches, pooled_width
from components.ranking.model.esuif import DAPGA, DREF
from components.ranking.model.hhfi import DOMAIN_TOKEN, HHFI, USER_TOKEN, Tokenizer
from components.ranking.model.layers import feed_forward
from components.ranking.model.spec import N_OUTPUTS, RankerSpec

DOMAIN_COLUMN = CATEGORICAL_COLUMN["domain_code"]


class Ranker(nn.Module):
    """What every architecture shares: its spec and the feature encoder."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = FeatureEncoder(spec.embedding_dim, spec.id_dropout)

    def forward(self, numeric_BF: Tensor, categorical_BC: Tensor, sequences_BSL: Tensor) -> Tensor:
        """Logits (B, Y)."""
        raise NotImplementedError


class HHSFT(Ranker):
    """Heterogeneous Hierarchical Sample Fusion Transformer: tokens, HHFI, DREF, DAPGA."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__(spec)
        self.tokenizer = Tokenizer(spec)
        self.hhfi = HHFI(spec)
        self.dref = DREF(spec)
        self.dapga = DAPGA(spec)

    def forward(self, numeric_BF: Tensor, categorical_BC: Tensor, sequences_BSL: Tensor) -> Tensor:
        """Logits (B, Y) of each row's own domain."""
        domain_B = categorical_BC[:, DOMAIN_COLUMN].long()
        tokens_BTD = self.tokenizer(self.encoder(numeric_BF, categorical_BC, sequences_BSL))
        e_BE = self.dref(self.hhfi(tokens_BTD), domain_B)
        return self.dapga(e_BE, tokens_BTD[:, USER_TOKEN], tokens_BTD[:, DOMAIN_TOKEN], domain_B)  # type: ignore[no-any-return]


class HHFIRanker(Ranker):
    """HHFI and one head for all domains: what pooling samples gives without the domain architecture."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__(spec)
        self.tokenizer = Tokenizer(spec)
        self.hhfi = HHFI(spec)
        self.head = feed_forward(spec.sample_width, spec.expert_width, N_OUTPUTS, spec.dropout)

    def forward(self, numeric_BF: Tensor, categorical_BC: Tensor, sequences_BSL: Tensor) -> Tensor:
        """Logits (B, Y)."""
        tokens_BTD = self.tokenizer(self.encoder(numeric_BF, categorical_BC, sequences_BSL))
        return self.head(self.hhfi(tokens_BTD))  # type: ignore[no-any-return]


class DLRM(Ranker):
    """DLRM-MLP: a bottom network on numerics, pairwise dot products of all vectors, a top network on everything.

    Reads the same encoder as HHSFT (pooled behaviour included) and passes the vectors on beside their products, so
    that the comparison is about interaction alone (our choice; the plain DLRM passes on the products only).
    """

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__(spec)
        width, hidden = spec.embedding_dim, spec.dlrm_width
        dense = 2 * len(NUMERIC) + sum(matches(name) for name in BEHAVIOURS)
        self.bottom = feed_forward(dense, hidden, width, spec.dropout)
        vectors = 1 + len(CATEGORICAL) + sum(pooled_width(name, 1) for name in BEHAVIOURS)
        self.register_buffer("pairs_2P", torch.triu_indices(vectors, vectors, offset=1), persistent=False)
        joined = vectors * width + vectors * (vectors - 1) // 2
        self.top = nn.Sequential(
            nn.Linear(joined, hidden),
            nn.GELU(),
            nn.Dropout(spec.dropout),
            feed_forward(hidden, hidden // 2, N_OUTPUTS, spec.dropout),
        )

    def forward(self, numeric_BF: Tensor, categorical_BC: Tensor, sequences_BSL: Tensor) -> Tensor:
        """Logits (B, Y)."""
        encoded = self.encoder(numeric_BF, categorical_BC, sequences_BSL)
        width = self.spec.embedding_dim
        behaviours = [(x_BM, pooled_width(name, width)) for name, x_BM in encoded.behaviours.items()]
        scalars = [x_BM[:, pooled:] for x_BM, pooled in behaviours]
        dense_BE = self.bottom(torch.cat([encoded.values_BF, encoded.known_BF, *scalars], dim=1))
        pooled = [part_BE for x_BM, end in behaviours for part_BE in x_BM[:, :end].split(width, dim=1)]
        vectors_BVE = torch.stack([dense_BE, *encoded.embeddings.values(), *pooled], dim=1)
        products_BVV = vectors_BVE @ vectors_BVE.transpose(1, 2)
        first_P, second_P = self.pairs_2P  # type: ignore[misc]
        return self.top(torch.cat([vectors_BVE.flatten(1), products_BVV[:, first_P, second_P]], dim=1))  # type: ignore[no-any-return]


_ARCHITECTURES: dict[str, type[Ranker]] = {"hhsft": HHSFT, "hhfi": HHFIRanker, "dlrm": DLRM}


def build_ranker(spec: RankerSpec) -> Ranker:
    """A freshly initialised ranker (seed torch before)."""
    return _ARCHITECTURES[spec.architecture](spec)


def domain_loss(
    logits_BY: Tensor,
    labels_BY: Tensor,
    domain_B: Tensor,
    weights_K: Tensor,
    counts_K: Tensor | None = None,
    weights_B: Tensor | None = None,
) -> Tensor:
    """L = sum_d lambda_d mean_{rows of d} w (BCE click + BCE purchase); a domain without rows adds nothing.

    `weights_B` holds the rows' own weights w, 1 each by default; means are over rows, not over weights.

    Where the rows are a part of a batch that several processes share, `counts_K` holds the whole batch's rows of each
    domain: the parts' losses, and so their gradients, then add up to the whole batch's.
    """
    losses_B = functional.binary_cross_entropy_with_logits(logits_BY, labels_BY, reduction="none").sum(1)
    losses_B = losses_B if weights_B is None else losses_B * weights_B
    own_BK = functional.one_hot(domain_B, len(DOMAINS)).to(losses_B.dtype)
    counts_K = own_BK.sum(0) if counts_K is None else counts_K
    return weights_K @ ((losses_B @ own_BK) / counts_K.clamp(min=1))
