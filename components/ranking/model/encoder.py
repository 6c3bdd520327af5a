"""From raw feature tensors to vectors: standardised numerics, embeddings, target attention over behaviour.

Shared by every architecture, so that they differ in how features interact and in nothing else.

Shape suffixes: N training rows, B batch, F numeric features, C categorical features, S sequences, L sequence length, E
embedding width, P what a place of a sequence holds (2E or E), A width of attention (P / 2), M matches. Sequences that
all rows of a batch share may come once: (1, S, L).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from components.contracts.features import CATEGORICAL, NUMERIC, SEQUENCE_LENGTH, SEQUENCES, Feature

# What is looked up of each place of a behaviour: codes, and the candidate's or query's feature that has such codes.
_PLACES = {
    "clicked": {"items": "item_bucket", "categories": "category_bucket"},
    "purchased": {"items": "item_bucket", "categories": "category_bucket"},
    "searched": {"queries": "query_bucket"},
}
BEHAVIOURS = tuple(_PLACES)
IDENTIFIERS = ("user_bucket", "item_bucket", "brand_bucket", "query_bucket")

CATEGORICAL_COLUMN = {f.name: column for column, f in enumerate(CATEGORICAL)}
_SEQUENCE_COLUMN = {f.name: column for column, f in enumerate(SEQUENCES)}
_TABLE = {f.name: f.table for f in CATEGORICAL}
# Codes that say when and where a place happened: they weigh it, and are no part of what is pooled.
_CIRCUMSTANCES = {
    behaviour: tuple(f for f in SEQUENCES if f.name in (f"{behaviour}_domains", f"{behaviour}_gaps"))
    for behaviour in BEHAVIOURS
}
_FAR = 8.0  # standard deviations beyond which a numeric feature is cut
_EXCLUDED = -1e9
_EMBEDDING_STD = 0.05


@dataclass(frozen=True)
class Encoded:
    """The features of B rows as vectors.

    Attributes:
        values_BF: standardised numerics, 0 where unknown.
        known_BF: 1 where the numeric is known, else 0.
        embeddings: categorical feature -> (B, E).
        behaviours: behaviour type -> (B, P + M): the pooled embeddings (`pooled_width`), then how much of the attention
            fell on real behaviour, how many places are filled, and how many hold the candidate's item, its category, or
            the query (`matches`).
    """

    values_BF: Tensor
    known_BF: Tensor
    embeddings: dict[str, Tensor]
    behaviours: dict[str, Tensor]


def pooled_width(behaviour: str, embedding_dim: int) -> int:
    """Width of a behaviour's pooled embeddings."""
    return embedding_dim * len(_PLACES[behaviour])


def matches(behaviour: str) -> int:
    """Number of scalars beside them."""
    return 2 + len(_PLACES[behaviour])


class TargetAttention(nn.Module):
    """Pools one behaviour sequence by its places' affinity to the candidate or query, and by when and where they were.

    A null key with a zero value takes the attention when nothing in the sequence resembles the candidate (or the
    sequence is empty), so the pooled vector also says how strong the match is.
    """

    def __init__(self, width: int, circumstances: tuple[Feature, ...]) -> None:
        super().__init__()
        self.query = nn.Linear(width, width // 2)
        self.key = nn.Linear(width, width // 2)
        self.recency_L = nn.Parameter(torch.zeros(SEQUENCE_LENGTH))
        self.weights = nn.ModuleList(nn.Embedding(f.buckets, 1) for f in circumstances)
        for weight in self.weights.parameters():
            nn.init.zeros_(weight)

    def forward(
        self, target_BP: Tensor, places_BLP: Tensor, filled_BL: Tensor, circumstances: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The pooled embeddings (B, P) and the weights (B, L); 1 - their sum fell on the null key.

        `circumstances` are codes (B, L), of each feature that the module was made with.
        """
        query_BA1 = self.query(target_BP)[:, :, None]
        own_BL = self.recency_L
        for weight, codes_BL in zip(self.weights, circumstances, strict=True):
            own_BL = own_BL + weight(codes_BL).squeeze(-1)
        scores_BL = (self.key(places_BLP) @ query_BA1).squeeze(-1) * query_BA1.shape[1] ** -0.5 + own_BL
        scores_BL = scores_BL.masked_fill(~filled_BL, _EXCLUDED)
        null_B1 = torch.zeros_like(scores_BL[:, :1])
        weights_BL = torch.cat([scores_BL, null_B1], dim=1).softmax(1)[:, :-1]
        return (weights_BL[:, None, :] @ places_BLP).squeeze(1), weights_BL


class FeatureEncoder(nn.Module):
    """Embeds and standardises the contract's features.

    Numerics: sign(x) log(1 + |x|), standardised with the training rows' mean and deviation (`fit_numeric`), then 0
    where unknown, beside a flag. Codes outside their table are read as unknown (0). Features of one kind of code share
    a table: the candidate's item, category and query with sequences.
    """

    numeric_mean: Tensor
    numeric_std: Tensor
    buckets_C: Tensor
    buckets_S1: Tensor

    def __init__(self, embedding_dim: int, id_dropout: float) -> None:
        super().__init__()
        self.id_dropout = id_dropout
        buckets = {f.table: f.buckets for f in CATEGORICAL}
        self.tables = nn.ModuleDict({table: nn.Embedding(size, embedding_dim) for table, size in buckets.items()})
        for weight in self.tables.parameters():
            nn.init.normal_(weight, std=_EMBEDDING_STD)
        self.pooling = nn.ModuleDict(
            {name: TargetAttention(pooled_width(name, embedding_dim), _CIRCUMSTANCES[name]) for name in BEHAVIOURS}
        )
        self.register_buffer("buckets_C", torch.tensor([f.buckets for f in CATEGORICAL]), persistent=False)
        self.register_buffer("buckets_S1", torch.tensor([[f.buckets] for f in SEQUENCES]), persistent=False)
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
        codes_BC = _known_codes(categorical_BC, self.buckets_C)
        places_BSL = _known_codes(sequences_BSL, self.buckets_S1)
        return Encoded(
            values_BF,
            known_BF.to(values_BF.dtype),
            embeddings={
                n: self.tables[_TABLE[n]](self._forget(n, codes_BC[:, c])) for n, c in CATEGORICAL_COLUMN.items()
            },
            behaviours={name: self._pool(name, codes_BC, places_BSL) for name in BEHAVIOURS},
        )

    def _forget(self, name: str, codes_B: Tensor) -> Tensor:
        if self.training and self.id_dropout and name in IDENTIFIERS:
            return codes_B.masked_fill(torch.rand(codes_B.shape, device=codes_B.device) < self.id_dropout, 0)
        return codes_B

    def _pool(self, behaviour: str, codes_BC: Tensor, places_BSL: Tensor) -> Tensor:
        def sequence(name: str) -> Tensor:
            return places_BSL[:, _SEQUENCE_COLUMN[name]]

        looked_up = _PLACES[behaviour].items()
        targets = [codes_BC[:, CATEGORICAL_COLUMN[feature], None] for _, feature in looked_up]
        codes = [sequence(f"{behaviour}_{part}") for part, _ in looked_up]
        filled_BL = codes[0] > 0
        pooled_BP, weights_BL = self.pooling[behaviour](
            self._embed(looked_up, targets).squeeze(1),
            self._embed(looked_up, codes),
            filled_BL,
            [sequence(f.name) for f in _CIRCUMSTANCES[behaviour]],
        )
        same = [(code_BL == target_B1) & filled_BL for code_BL, target_B1 in zip(codes, targets, strict=True)]
        filled_BL = filled_BL.expand_as(weights_BL)
        counts = [match_BL.to(pooled_BP.dtype).sum(1).log1p() for match_BL in (filled_BL, *same)]
        return torch.cat([pooled_BP, torch.stack([weights_BL.sum(1), *counts], dim=1)], dim=1)

    def _embed(self, looked_up: Iterable[tuple[str, str]], codes: list[Tensor]) -> Tensor:
        tables = [self.tables[_TABLE[feature]] for _, feature in looked_up]
        return torch.cat([table(code_BL) for table, code_BL in zip(tables, codes, strict=True)], dim=-1)


def _known_codes(codes: Tensor, buckets: Tensor) -> Tensor:
    return torch.where((codes >= 0) & (codes < buckets), codes, 0)
