"""Position bias: what a shown item's place added to its click, taken out of what a ranker learns.

Places are a train-time column: no feature, and nothing that is served reads them. Two ways (our choice; UniScale states
none): weights by inverse propensity, and a tower beside the ranker that explains places and stays behind.

Shape suffixes: N rows, P places, B batch, Y outputs (click, purchase).
"""

import numpy as np
import torch
from torch import Tensor, nn

from components.contracts.features import CATEGORICAL
from components.ranking.config import RankingConfig
from components.ranking.dataset import TrainingSet
from components.ranking.model.rankers import Ranker
from components.ranking.model.spec import N_OUTPUTS

# Places from the last of them on are one.
_LAST = 64
_STEPS = 100
_RARE = 10  # rows
_PAIR = [[f.name for f in CATEGORICAL].index(name) for name in ("market_code", "query_bucket", "item_bucket")]


def propensities(place_N: np.ndarray, click_N: np.ndarray, pair_N: np.ndarray) -> np.ndarray:
    """Chance that each place is looked at, over that of the first place that has rows: float64 (P,), NaN without rows.

    A position-based click model (Richardson et al. 2007) fitted by expectation maximisation (Chuklin et al. 2015): a
    click is a look, which the place decides, at something attractive, which the pair of query and item decides. Pairs
    that were shown at several places tell the two apart. Pairs that were shown rarely count as one, or each would
    explain its own click, and places nothing.

    Args:
        place_N: int64, from 0.
        click_N: 0 or 1.
        pair_N: int64, equal where query and item are.
    """
    known_P, at_N = np.unique(place_N, return_inverse=True)
    _, pair_N, shown = np.unique(pair_N, return_inverse=True, return_counts=True)
    of_N = np.where(shown[pair_N] < _RARE, 0, pair_N + 1)
    rows_P, rows_pair = np.bincount(at_N), np.maximum(np.bincount(of_N), 1)
    look_P, attraction = np.full(len(known_P), 0.5), np.full(len(rows_pair), 0.5)
    for _ in range(_STEPS):
        look_N, attractive_N = look_P[at_N], attraction[of_N]
        no_click_N = np.maximum(1 - look_N * attractive_N, 1e-12)
        look_P = np.bincount(at_N, np.where(click_N > 0, 1, look_N * (1 - attractive_N) / no_click_N)) / rows_P
        attraction = np.bincount(of_N, np.where(click_N > 0, 1, attractive_N * (1 - look_N) / no_click_N)) / rows_pair
    found_P = np.full(int(known_P[-1]) + 1, np.nan)
    found_P[known_P] = look_P / look_P[0]
    return found_P


def click_weights(data: TrainingSet, min_propensity: float) -> np.ndarray:
    """Row weights float32 (N,): 1 over its place's propensity for a natively clicked row of training, else 1.

    Propensities are those of the training window's shown rows, and `min_propensity` at least: one rare click far down
    must not outweigh a batch. Weighted so, clicks of every place add up to what they would be at the first, in
    expectation; the odds that a model learns are a / (1 - a l), for attraction a and propensity l.
    """
    weights_N = np.ones(len(data.position), dtype=np.float32)
    rows = data.rows("train", "exposed")
    place_N = _places(data.position[rows]) - 1
    pair_N = np.unique(data.features.categorical[rows][:, _PAIR], axis=0, return_inverse=True)[1].ravel()
    click_N = data.native[rows, 0]
    look_P = propensities(place_N, click_N, pair_N)
    weights_N[rows] = np.where(click_N > 0, 1 / np.clip(look_P[place_N], min_propensity, 1), 1)
    return weights_N


class PositionTower(nn.Module):
    """Adds to a ranker's logits what a row's place explains; 0 at the first place, and where there is none.

    What the ranker itself says is then of a row at the first place. It alone is kept.
    """

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self.ranker = ranker
        self.place = nn.Embedding(_LAST, N_OUTPUTS, padding_idx=0)
        nn.init.zeros_(self.place.weight)

    def forward(self, numeric_BF: Tensor, categorical_BC: Tensor, sequences_BSL: Tensor, place_B: Tensor) -> Tensor:
        """Logits (B, Y); `place_B` int64, 0 for the first place and for none."""
        logits_BY: Tensor = self.ranker(numeric_BF, categorical_BC, sequences_BSL)
        of_place_BY: Tensor = self.place(place_B)
        return logits_BY + of_place_BY


class PositionBias:
    """What one fit does about places: row weights, a tower, or nothing.

    Attributes:
        network: what is trained: the ranker, or the tower around it.
        weights_N: row weights (N,), all 1 but for "ipw".
    """

    def __init__(self, ranker: Ranker, data: TrainingSet, config: RankingConfig, device: torch.device) -> None:
        self.network: nn.Module = ranker
        weights_N = np.ones(len(data.position), dtype=np.float32)
        self._place_N: Tensor | None = None
        if config.position_bias == "ipw":
            weights_N = click_weights(data, config.min_propensity)
        elif config.position_bias == "tower":
            self.network = PositionTower(ranker)
            places = np.maximum(_places(data.position) - 1, 0)
            self._place_N = torch.from_numpy(places).to(device)
        self.weights_N = torch.from_numpy(weights_N).to(device)

    def more(self, rows_B: Tensor) -> tuple[Tensor, ...]:
        """What the network reads of rows beside their features."""
        return () if self._place_N is None else (self._place_N[rows_B],)


def _places(position_N: np.ndarray) -> np.ndarray:
    """Positions as int64 from 1, 0 where there is none, those far down as one."""
    return np.asarray(np.minimum(np.nan_to_num(position_N, nan=0), _LAST).astype(np.int64))
