"""A frozen language model as a pair encoder: trunk, then pooling.

Shapes: B pairs, T tokens, D the trunk's width.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from components.relevance.model.spec import ExpertSpec


class MeanPooling(nn.Module):
    """Mean of the token vectors."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, D)."""
        weight_BT1 = mask_BT.to(hidden_BTD.dtype).unsqueeze(-1)
        return (hidden_BTD * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1).clamp(min=1.0)


class LastTokenPooling(nn.Module):
    """Vector of the last token that is not padding; padding must stand on the right."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, D)."""
        place_T = torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device)
        last_B = ((mask_BT.long() * place_T).max(dim=1).values - 1).clamp(min=0)
        index_B1D = last_B.view(-1, 1, 1).expand(-1, 1, hidden_BTD.shape[2])
        return hidden_BTD.gather(1, index_B1D).squeeze(1)


POOLINGS: dict[str, type[nn.Module]] = {"mean": MeanPooling, "last": LastTokenPooling}

_WITH_POOLER = ("bert", "roberta", "xlm-roberta")


class Expert(nn.Module):
    """Token ids to one vector a pair; exports to ONNX with a dynamic batch and sequence.

    Args:
        trunk: a module whose output has `last_hidden_state` (a Hugging Face base model).
        pooling: a key of POOLINGS.
    """

    def __init__(self, trunk: nn.Module, pooling: str) -> None:
        super().__init__()
        self.trunk = trunk
        self.pooling = POOLINGS[pooling]()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 (B, T) twice, mask 1 for tokens and 0 for padding on the right; float32 (B, D)."""
        hidden_BTD = self.trunk(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled: Tensor = self.pooling(hidden_BTD, attention_mask)
        return pooled


def load_expert(experts: Path, spec: ExpertSpec) -> Expert:
    """The expert in float32, evaluation mode, gradients off, from an `experts` directory.

    Transformers is imported here, because only the trunk needs it.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = experts / spec.name
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    # A decoder's cache of keys and values would only cost time here.
    config.use_cache = False
    # BERT's own pooler is no part of our vector.
    no_pooler = {"add_pooling_layer": False} if config.model_type in _WITH_POOLER else {}
    trunk = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32, local_files_only=True, **no_pooler)
    return Expert(trunk, spec.pooling).eval().requires_grad_(False)
