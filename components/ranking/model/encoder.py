"""From raw feature tensors to vectors: standardised numerics, embeddings, target attention over behaviour.

Shared by every architecture, so that they differ in how features interact and in nothing else.

Shape suffixes: B batch, F numeric features, C categorical features, S sequences, L sequence length, E embedding width,
P item + category pair of embeddings (2E).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from components.contracts.features import CATEGORICAL, NUMERIC, SEQUENCE_LENGTH, SEQUENCES

BEHAVIOURS = tuple(dict.fromkeys(f.name.split("_")[0] for f in SEQUENCES))
MATCHES = 4  # scalars beside a behaviour's pooled pair
IDENTIFIERS = ("user_bucket", "item_bucket", "brand_bucket", "query_bucket")

_CATEGORICAL_COLUMN = {f.name: column for column, f in enumerate(CATEGORICAL)}
_SEQUENCE_COLUMN = {f.name: column for column, f in enumerate(SEQUENCES)}
_FAR = 8.0  # standard deviations beyond which a numeric feature is cut
_EXCLUDED = -1e9
_EMBEDDING_STD = 0.05


@dataclass(frozen=True)
class Encoded:
    """The features of B rows as vectors.

    Attributes:
        values: feature -> (B, 1) standardised numeric, 0 where unknown.
        known: feature -> (B, 1), 1 where the numeric is known.
        embeddings: feature -> (B, E).
        behaviours: behaviour type -> (B, P + MATCHES): the pooled pair of embeddings, then how much of the attention
            fell on real behaviour, and how many places are filled, hold the candidate, or hold its category.
    """

    values: dict[str, Tensor]
    known: dict[str, Tensor]
    embeddings: dict[str, Tensor]
    behaviours: dict[str, Tensor]


class TargetAttention(nn.Module):
    """Pools one behaviour sequence by its items' affinity to the candidate.

    A null slot with a zero value takes the attention when nothing in the sequence resembles the candidate (or the
    sequence is empty), so the pooled vector also says how strong the match is.
    """

    def __init__(self, pair_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(pair_width, pair_width // 2)
        self.key = nn.Linear(pair_width, pair_width // 2)
        self.recency_L = nn.Parameter(torch.zeros(SEQUENCE_LENGTH))

    def forward(self, target_BP: Tensor, places_BLP: Tensor, filled_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled pair (B, P) and the weights (B, L); 1 - their sum fell on the null slot."""
        query_BA1 = self.query(target_BP)[:, :, None]
        scores_BL = (self.key(places_BLP) @ query_BA1).squeeze(-1) * query_BA1.shape[1] ** -0.5 + self.recency_L
        scores_BL = scores_BL.masked_fill(~filled_BL, _EXCLUDED)
        null_B1 = torch.zeros_like(scores_BL[:, :1])
        weights_BL = torch.cat([scores_BL, null_B1], dim=1).softmax(1)[:, :-1]
        return (weights_BL[:, None, :] @ places_BLP).squeeze(1), weights_BL


class FeatureEncoder(nn.Module):
    """Embeds and standardises the contract's features.

    Numerics: sign(x) log(1 + |x|), standardised with the training rows' mean and deviation (`fit_numeric`), then 0
    where unknown, beside a flag. Codes outside their table are read as unknown (0). Sequences share the tables of the
    candidate's item and category.
    """

    numeric_mean: Tensor
    numeric_std: Tensor

    def __init__(self, embedding_dim: int, id_dropout: float) -> None:
        super().__init__()
        self.id_dropout = id_dropout
        self.tables = nn.ModuleDict({f.name: nn.Embedding(f.buckets, embedding_dim) for f in CATEGORICAL})
        for weight in self.tables.parameters():
            nn.init.normal_(weight, std=_EMBEDDING_STD)
        self.pooling = nn.ModuleDict({name: TargetAttention(2 * embedding_dim) for name in BEHAVIOURS})
        self.register_buffer("numeric_mean", torch.zeros(len(NUMERIC)))
        self.register_buffer("numeric_std", torch.ones(len(NUMERIC)))

    def fit_numeric(self, numeric_NF: np.ndarray) -> None:
        """Set mean and deviation from the training rows, unknown values left out."""
        known = np.isfinite(numeric_NF)
        values = np.where(known, np.sign(numeric_NF) * np.log1p(np.abs(numeric_NF)), 0).astype(np.float64)
        count = np.maximum(known.sum(0), 1)
        mean = values.sum(0) / count
        std = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(0) / count)
        self.numeric_mean.copy_(torch.from_numpy(mean))
        self.numeric_std.copy_(torch.from_numpy(np.where(std > 1e-6, std, 1.0)))

    def forward(self, numeric_BF: Tensor, categorical_BC: Tensor, sequences_BSL: Tensor) -> Encoded:
        """Vectors of B rows, from tensors as `contracts.features.assemble` lays them out."""
        known_BF = torch.isfinite(numeric_BF)
        numeric_BF = torch.where(known_BF, numeric_BF, 0.0)
        logged_BF = numeric_BF.sign() * numeric_BF.abs().log1p()
        values_BF = ((logged_BF - self.numeric_mean) / self.numeric_std).clamp(-_FAR, _FAR)
        values_BF = torch.where(known_BF, values_BF, 0.0)
        flags_BF = known_BF.to(values_BF.dtype)
        codes = {name: self._code(name, categorical_BC[:, column]) for name, column in _CATEGORICAL_COLUMN.items()}
        return Encoded(
            values={f.name: values_BF[:, i : i + 1] for i, f in enumerate(NUMERIC)},
            known={f.name: flags_BF[:, i : i + 1] for i, f in enumerate(NUMERIC)},
            embeddings={name: self.tables[name](self._forget(name, code)) for name, code in codes.items()},
            behaviours={name: self._pool(name, codes, sequences_BSL) for name in BEHAVIOURS},
        )

    def _code(self, name: str, codes: Tensor) -> Tensor:
        buckets = self.tables[name].num_embeddings
        return torch.where((codes >= 0) & (codes < buckets), codes, 0)  # type: ignore[operator]

    def _forget(self, name: str, codes_B: Tensor) -> Tensor:
        if self.training and self.id_dropout and name in IDENTIFIERS:
            return codes_B.masked_fill(torch.rand(codes_B.shape, device=codes_B.device) < self.id_dropout, 0)
        return codes_B

    def _pool(self, behaviour: str, codes: dict[str, Tensor], sequences_BSL: Tensor) -> Tensor:
        items_BL = self._code("item_bucket", sequences_BSL[:, _SEQUENCE_COLUMN[f"{behaviour}_items"]])
        categories_BL = self._code("category_bucket", sequences_BSL[:, _SEQUENCE_COLUMN[f"{behaviour}_categories"]])
        item, category = self.tables["item_bucket"], self.tables["category_bucket"]
        target_BP = torch.cat([item(codes["item_bucket"]), category(codes["category_bucket"])], dim=-1)
        places_BLP = torch.cat([item(items_BL), category(categories_BL)], dim=-1)
        filled_BL = items_BL > 0
        pooled_BP, weights_BL = self.pooling[behaviour](target_BP, places_BLP, filled_BL)
        same_item_BL = (items_BL == codes["item_bucket"][:, None]) & filled_BL
        same_category_BL = (categories_BL == codes["category_bucket"][:, None]) & filled_BL
        counts = [
            flags_BL.to(pooled_BP.dtype).sum(1).log1p() for flags_BL in (filled_BL, same_item_BL, same_category_BL)
        ]
        return torch.cat([pooled_BP, torch.stack([weights_BL.sum(1), *counts], dim=1)], dim=1)
