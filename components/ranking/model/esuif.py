"""ESUIF, entire space user interest fusion: DREF and DAPGA (HHSFT, arXiv 2603.24226).

Closed form built here (d: the row's own domain; hidden widths are our choice):
    e   = a_s f_s(z) + a_d f_d(z),   (a_s, a_d) = softmax(FFN_d(z))                                   DREF
    v_k = g_k(e),   v~_k = v_k if k == d else stopgrad(v_k)
    o   = softmax(v_d Wq (V~ Wk)^T / sqrt(d_a)) V~ Wv
    y_d = Head_d(sigmoid(FFN([t_U; t_D])) * o)                                                        DAPGA

Every domain's experts are computed in one batched product and the row's own is chosen: experts of other domains get a
gradient of exactly zero from it.

Shape suffixes: B batch, K domains, Z width of the sample vector, E width of an expert, A attention width (= E),
D token width, Y outputs (click, purchase).
"""

import torch
from torch import Tensor, nn

from components.contracts.markets import DOMAINS
from components.ranking.model.layers import GroupedFeedForward, choose, feed_forward
from components.ranking.model.spec import N_OUTPUTS, RankerSpec


class DREF(nn.Module):
    """Domain-routed expert fusion: a shared expert and the row's domain expert, under the domain's own gate."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        width, hidden = spec.expert_width, 2 * spec.expert_width
        self.shared = feed_forward(spec.sample_width, hidden, width, spec.dropout)
        self.experts = GroupedFeedForward(len(DOMAINS), spec.sample_width, hidden, width, spec.dropout)
        self.gates = GroupedFeedForward(len(DOMAINS), spec.sample_width, width, 2, spec.dropout)

    def forward(self, z_BZ: Tensor, domain_B: Tensor) -> Tensor:
        """The fused vector e (B, E)."""
        z_BKZ = z_BZ[:, None, :].expand(-1, len(DOMAINS), -1)
        gate_B2 = choose(self.gates(z_BKZ), domain_B).softmax(-1)
        own_BE = choose(self.experts(z_BKZ), domain_B)
        return gate_B2[:, :1] * self.shared(z_BZ) + gate_B2[:, 1:] * own_BE  # type: ignore[no-any-return]


class DAPGA(nn.Module):
    """Domain-aware personalised gated attention over a second set of domain experts, then the domain's head."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        width = spec.expert_width
        self.experts = GroupedFeedForward(len(DOMAINS), width, 2 * width, width, spec.dropout)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.personal = feed_forward(2 * spec.token_width, width, width, spec.dropout)
        self.heads = GroupedFeedForward(len(DOMAINS), width, width, N_OUTPUTS, spec.dropout)

    def forward(self, e_BE: Tensor, user_BD: Tensor, domain_BD: Tensor, domain_B: Tensor) -> Tensor:
        """Logits (B, Y) of the row's own domain. `user_BD` and `domain_BD` are the tokens t_U and t_D."""
        fused_BA = self.fuse(e_BE, domain_B)
        phi_BA = self.personal(torch.cat([user_BD, domain_BD], dim=1)).sigmoid()
        gated_BKA = (phi_BA * fused_BA)[:, None, :].expand(-1, len(DOMAINS), -1)
        return choose(self.heads(gated_BKA), domain_B)

    def fuse(self, e_BE: Tensor, domain_B: Tensor) -> Tensor:
        """Attention of the row's domain expert over all of them: o (B, A)."""
        v_BKE = self.experts(e_BE[:, None, :].expand(-1, len(DOMAINS), -1))
        own_BE = choose(v_BKE, domain_B)
        others_BKE = v_BKE.detach()
        is_own_BK1 = (torch.arange(len(DOMAINS), device=domain_B.device) == domain_B[:, None])[:, :, None]
        stopped_BKE = own_BE[:, None, :].where(is_own_BK1, others_BKE)
        query_BA1 = self.query(own_BE)[:, :, None]
        weights_BK1 = (self.key(stopped_BKE) @ query_BA1 * query_BA1.shape[1] ** -0.5).softmax(1)
        return (weights_BK1 * self.value(stopped_BKE)).sum(1)  # type: ignore[no-any-return]
