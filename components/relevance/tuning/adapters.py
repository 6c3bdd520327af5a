"""An expert with a head of its own, its trunk tuned by low-rank adapters (LoRA).

Stage 1 of paper 1's training by our reading: tune each expert alone on all markets; router and fusion come afterwards,
on the tuned experts' frozen vectors. Rank, scale, dropout and which matrices are adapted are our choices.

Shape suffixes: B pairs, T tokens, D width of a pooled vector.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.relevance.model.expert import Expert, read_expert
from components.relevance.model.spec import ExpertSpec, TuningSpec

# Attention and feed-forward matrices by the names of decoders (Gemma, Qwen) and of encoders (BERT, XLM-R).
_ADAPTED = r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|query|key|value|dense)"


class TunedExpert(nn.Module):
    """Token ids to one logit per pair: trunk with adapters, pooling, LayerNorm without gain, one linear map."""

    def __init__(self, expert: Expert, dim: int) -> None:
        super().__init__()
        self.expert = expert
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.head = nn.Linear(dim, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B,) of token ids and mask int64 (B, T), padded on the right."""
        pooled_BD = self.expert(input_ids, attention_mask)
        logits_B1: Tensor = self.head(self.norm(pooled_BD.float()))
        return logits_B1.squeeze(-1)

    def blocks(self) -> list[nn.Module]:
        """The trunk's transformer blocks: its longest list of modules."""
        lists = [list(module) for module in self.expert.trunk.modules() if isinstance(module, nn.ModuleList)]
        return max(lists, key=len)


def new_tuned_expert(folder: Path, spec: ExpertSpec, tuning: TuningSpec) -> TunedExpert:
    """The expert of a folder with fresh adapters, which start as no change at all; only they and the head learn."""
    from peft import LoraConfig, get_peft_model

    expert = read_expert(folder, spec)
    adapters = LoraConfig(
        r=tuning.rank, lora_alpha=tuning.alpha, lora_dropout=tuning.dropout, target_modules=_ADAPTED, bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        trunk: Any = get_peft_model(expert.trunk, adapters)
        expert.trunk = trunk
        return TunedExpert(expert, spec.dim)


def merged_trunk(tuned: TunedExpert) -> nn.Module:
    """The trunk with its adapters multiplied into the matrices: an ordinary Hugging Face model again."""
    trunk: Any = tuned.expert.trunk
    merged: nn.Module = trunk.merge_and_unload()
    return merged
