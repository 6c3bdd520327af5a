"""HHFI, heterogeneous hierarchical feature interaction: tokens, HFA, GFA (HHSFT, arXiv 2603.24226).

Closed form built here (the source gives words and a figure; norms, ranks and depths are our choice):
    T_i = MLP_i(x_i)
    H   = T + MHSA({LN(T)_i Wq_i, LN(T)_i Wk_i, LN(T)_i Wv_i});   H_i = H_i + FFN_i(LN(H_i))       HFA, L layers
    c   = LN(concat_i H_i);   G_j = (c A_j) (Wq_j, Wk_j, Wv_j);   z = FFN(concat_j MHSA(G)_j)       GFA

Shape suffixes: B batch, F numeric features, T tokens, D token width (d_H), C all tokens side by side (T D), J
independent QKV blocks, R rank, G width of a block (d_G), Z width of the sample vector.
"""

import torch
from torch import Tensor, nn

from components.contracts.features import CATEGORICAL, NUMERIC, Feature, Group
from components.ranking.model.encoder import BEHAVIOURS, Encoded, matches, pooled_width
from components.ranking.model.layers import GroupedFeedForward, GroupedLinear, feed_forward, self_attention
from components.ranking.model.spec import RankerSpec

PLAIN_GROUPS: tuple[Group, ...] = ("user", "item", "query", "domain")
TOKENS: tuple[str, ...] = (*PLAIN_GROUPS, *BEHAVIOURS)
USER_TOKEN, DOMAIN_TOKEN = TOKENS.index("user"), TOKENS.index("domain")


class Tokenizer(nn.Module):
    """One token per feature group, and in the sequence group one per behaviour type: MLPs to a common width."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        embedding = spec.embedding_dim
        widths = {
            group: embedding * len(_of(CATEGORICAL, group)) + 2 * len(_of(NUMERIC, group)) for group in PLAIN_GROUPS
        } | {name: pooled_width(name, embedding) + matches(name) for name in BEHAVIOURS}
        for group in PLAIN_GROUPS:
            columns = [i for i, f in enumerate(NUMERIC) if f.group == group]
            self.register_buffer(f"{group}_columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        self.networks = nn.ModuleDict(
            {name: feed_forward(widths[name], spec.token_width, spec.token_width, spec.dropout) for name in TOKENS}
        )

    def forward(self, encoded: Encoded) -> Tensor:
        """Tokens (B, T, D) in the order of TOKENS."""
        inputs = {group: self._plain(group, encoded) for group in PLAIN_GROUPS} | encoded.behaviours
        return torch.stack([self.networks[name](inputs[name]) for name in TOKENS], dim=1)

    def _plain(self, group: Group, encoded: Encoded) -> Tensor:
        """Inputs of one token: the group's embeddings, numerics and flags."""
        columns = self.get_buffer(f"{group}_columns")
        vectors = [encoded.embeddings[f.name] for f in _of(CATEGORICAL, group)]
        return torch.cat([*vectors, encoded.values_BF[:, columns], encoded.known_BF[:, columns]], dim=1)


class HFALayer(nn.Module):
    """One layer of heterogeneous feature attention: every token has its own Q, K, V, output map and FFN."""

    def __init__(self, tokens: int, spec: RankerSpec) -> None:
        super().__init__()
        width = spec.token_width
        self.heads = spec.hfa_heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = GroupedLinear(tokens, width, 3 * width)
        self.out = GroupedLinear(tokens, width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = GroupedFeedForward(tokens, width, 2 * width, width, spec.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Tokens to tokens, both (B, T, D)."""
        query_BTD, key_BTD, value_BTD = self.qkv(self.attention_norm(x_BTD)).chunk(3, dim=-1)
        x_BTD = x_BTD + self.out(self_attention(query_BTD, key_BTD, value_BTD, self.heads))
        return x_BTD + self.ffn(self.ffn_norm(x_BTD))  # type: ignore[no-any-return]


class GFA(nn.Module):
    """Global feature attention: J independent QKV blocks, each reading all tokens through its own low-rank map."""

    def __init__(self, tokens: int, spec: RankerSpec) -> None:
        super().__init__()
        self.blocks, self.heads = spec.gfa_blocks, spec.gfa_heads
        self.norm = nn.LayerNorm(tokens * spec.token_width)
        self.down = GroupedLinear(spec.gfa_blocks, tokens * spec.token_width, spec.gfa_rank)
        self.qkv = GroupedLinear(spec.gfa_blocks, spec.gfa_rank, 3 * spec.gfa_width)
        joined = spec.gfa_blocks * spec.gfa_width
        self.ffn = feed_forward(joined, joined, spec.sample_width, spec.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The sample vector z (B, Z)."""
        c_BJC = self.norm(x_BTD.flatten(1))[:, None, :].expand(-1, self.blocks, -1)
        query_BJG, key_BJG, value_BJG = self.qkv(self.down(c_BJC)).chunk(3, dim=-1)
        return self.ffn(self_attention(query_BJG, key_BJG, value_BJG, self.heads).flatten(1))  # type: ignore[no-any-return]


class HHFI(nn.Module):
    """L layers of HFA, then GFA: tokens (B, T, D) to the sample vector z (B, Z)."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        self.hfa = nn.Sequential(*(HFALayer(len(TOKENS), spec) for _ in range(spec.hfa_layers)))
        self.gfa = GFA(len(TOKENS), spec)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """The sample vector z (B, Z)."""
        return self.gfa(self.hfa(tokens_BTD))  # type: ignore[no-any-return]


def _of(features: tuple[Feature, ...], group: str) -> list[Feature]:
    return [f for f in features if f.group == group]
