"""Hyperparameters of the rankers. Imports nothing heavy, so that configurations may name them."""

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["hhsft", "hhfi", "dlrm"]

N_OUTPUTS = 2  # click and purchase, both unconditional


@dataclass(frozen=True)
class RankerSpec:
    """Widths and depths; the defaults are the laptop's, chosen on validation (the source states no sizes).

    Attributes:
        architecture: hhsft (HHFI + DREF + DAPGA), hhfi (its sample vector z under one head), or dlrm (the baseline).
        embedding_dim: width of every categorical embedding.
        token_width: d_H, the tokens' common width.
        hfa_layers, hfa_heads: depth and heads of the token-specific attention.
        gfa_blocks, gfa_rank, gfa_width, gfa_heads: number of independent QKV blocks over the concatenation of all
            tokens, the rank of their input map, their width d_G, and heads.
        sample_width: width of the sample vector z.
        expert_width: width of DREF's and DAPGA's experts.
        dlrm_width: the baseline's hidden width.
        dropout: dropout of hidden activations while training.
        id_dropout: chance that a user, item, query or brand code is read as unknown (0) while training, which teaches
            the unknown row and keeps the model from learning rare ids by heart.
    """

    architecture: Architecture = "hhsft"
    embedding_dim: int = 16
    token_width: int = 32
    hfa_layers: int = 1
    hfa_heads: int = 2
    gfa_blocks: int = 4
    gfa_rank: int = 32
    gfa_width: int = 32
    gfa_heads: int = 2
    sample_width: int = 64
    expert_width: int = 32
    dlrm_width: int = 128
    dropout: float = 0.0
    id_dropout: float = 0.1
