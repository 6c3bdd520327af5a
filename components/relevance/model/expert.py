"""A frozen language model as a pair encoder: trunk, then pooling.

Shape suffixes: B pairs, T tokens, D the trunk's width.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from components.relevance.model.spec import ExpertSpec


class MeanPooling(nn.Module):
    """Mean of the token vectors."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor, ids_BT: Tensor) -> Tensor:  # noqa: ARG002 - one signature
        """(B, D)."""
        return _mean(hidden_BTD, mask_BT)


class LastTokenPooling(nn.Module):
    """Vector of the last token that is not padding; padding must stand on the right."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor, ids_BT: Tensor) -> Tensor:  # noqa: ARG002 - one signature
        """(B, D)."""
        position_T = torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device)
        last_B = ((mask_BT.long() * position_T).max(dim=1).values - 1).clamp(min=0)
        index_B1D = last_B.view(-1, 1, 1).expand(-1, 1, hidden_BTD.shape[2])
        return hidden_BTD.gather(1, index_B1D).squeeze(1)


class SegmentPooling(nn.Module):
    """[u; v; |u - v|]: u the mean over the query's part of the input, v over the item's, which the separator begins.

    Sentence-BERT's features of a pair, here from one joint pass (our choice): a frozen trunk was never trained to sum
    up a pair, and a small head cannot find the match of two parts in their common mean.
    """

    def __init__(self, separator_id: int) -> None:
        super().__init__()
        self.separator_id = separator_id

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor, ids_BT: Tensor) -> Tensor:
        """(B, 3 D)."""
        is_item_BT = ((ids_BT == self.separator_id).long().cumsum(dim=1) > 0).long()
        query_BD = _mean(hidden_BTD, mask_BT * (1 - is_item_BT))
        item_BD = _mean(hidden_BTD, mask_BT * is_item_BT)
        return torch.cat([query_BD, item_BD, (query_BD - item_BD).abs()], dim=1)


def pooled_width(pooling: str, width: int) -> int:
    """Width of the pooled vector of a trunk of that width."""
    return 3 * width if pooling == "segments" else width


def new_pooling(pooling: str, separator_id: int | None) -> nn.Module:
    """The pooling of that name: "mean", "last" or "segments"."""
    if pooling == "segments":
        assert separator_id is not None
        return SegmentPooling(separator_id)
    return {"mean": MeanPooling, "last": LastTokenPooling}[pooling]()


def _mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    weight_BT1 = mask_BT.to(hidden_BTD.dtype).unsqueeze(-1)
    return (hidden_BTD * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1).clamp(min=1.0)


_WITH_POOLER = ("bert", "roberta", "xlm-roberta")


def first_position(model_type: str, pad_id: int) -> int:
    """Row of the position embeddings that a text's first token has: RoBERTa's kind counts from its padding id on."""
    return pad_id + 1 if model_type in ("roberta", "xlm-roberta") else 0


class Expert(nn.Module):
    """Token ids to one vector per pair; exports to ONNX with a dynamic batch and sequence.

    Args:
        trunk: a module whose output has `last_hidden_state` (a Hugging Face base model).
        pooling: "mean", "last" or "segments".
        separator_id: the token that begins the item's part, for "segments".
    """

    def __init__(self, trunk: nn.Module, pooling: str, separator_id: int | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.pooling = new_pooling(pooling, separator_id)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 (B, T) twice, mask 1 for tokens and 0 for padding on the right; float32 (B, pooled width)."""
        hidden_BTD = self.trunk(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled: Tensor = self.pooling(hidden_BTD, attention_mask, input_ids)
        return pooled


def load_expert(experts: Path, spec: ExpertSpec) -> Expert:
    """An expert of an `experts` directory, in float32, evaluation mode, gradients off."""
    return read_expert(experts / spec.name, spec)


def read_expert(folder: Path, spec: ExpertSpec) -> Expert:
    """The same from its own folder. Transformers is imported here, because only the trunk needs it."""
    from transformers import AutoConfig, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    # A decoder's cache of keys and values would only cost time here.
    config.use_cache = False
    # BERT's own pooler is no part of our vector.
    no_pooler = {"add_pooling_layer": False} if config.model_type in _WITH_POOLER else {}
    trunk = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32, local_files_only=True, **no_pooler)
    return Expert(trunk, spec.pooling, spec.separator_id).eval().requires_grad_(False)
