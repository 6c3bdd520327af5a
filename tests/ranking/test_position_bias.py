"""Places at training time: what they are taken to explain, and that nothing served reads them."""

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ranking_world import MARKETS, write_world

from components.contracts.features import FEATURES
from components.contracts.training_set import CANDIDATE_COLUMNS
from components.ranking.config import RankingConfig
from components.ranking.dataset import TrainingSet, read_training_set
from components.ranking.fitting import DeviceFeatures, fit, predict
from components.ranking.model.rankers import build_ranker, domain_loss
from components.ranking.model.serving import ServingRanker, load_ranker, save_ranker
from components.ranking.model.spec import RankerSpec
from components.ranking.position import PositionTower, click_weights, propensities

PLACES, DECAY = 8, 0.8
CONFIG = RankingConfig(
    variants=("dlrm_exposed",), released="dlrm_exposed", epochs=2, batch_size=256, learning_rate=4e-3, bootstrap=0
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """The learnable world with places for shown rows, whose clicks further down are lost as a look is."""
    made = read_training_set(write_world(tmp_path_factory.mktemp("world"))[0], MARKETS)
    rng = np.random.default_rng(1)
    place = rng.integers(1, PLACES + 1, len(made.position))
    seen = rng.random(len(place)) < place**-DECAY
    return replace(
        made,
        position=np.where(made.exposed, place, np.nan).astype(np.float32),
        native=made.native * (seen | (made.split != "train"))[:, None],
    )


def clicks(requests: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, click and pair of rows by a position-based model; better pairs are shown further up."""
    rng = np.random.default_rng(seed)
    attraction = np.linspace(0.05, 0.7, 10)
    pair = np.argsort(-attraction + rng.gumbel(0, 0.3, (requests, 10)), axis=1)[:, :PLACES]
    place = np.tile(np.arange(PLACES), (requests, 1))
    chance = attraction[pair] * (place + 1.0) ** -DECAY
    return place.ravel(), (rng.random(chance.shape) < chance).ravel().astype(np.int64), pair.ravel()


def test_propensities_are_those_that_made_the_clicks() -> None:
    place, click, pair = clicks()
    naive = np.bincount(place, click) / np.bincount(place)
    truth = np.arange(1, PLACES + 1) ** -DECAY
    found = propensities(place, click, pair)
    np.testing.assert_allclose(found, truth, atol=0.03)
    assert np.abs(naive / naive[0] - truth).max() > 0.05, "clicks alone would also count what was shown where"


def test_places_without_rows_have_no_propensity() -> None:
    found = propensities(np.array([0, 0, 2, 2]), np.array([1, 1, 1, 0]), np.array([0, 1, 0, 1]))
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], [1, 0.5], atol=0.01)


def test_pairs_that_were_shown_once_do_not_explain_their_own_clicks() -> None:
    place, click, _ = clicks()
    found = propensities(place, click, np.arange(len(place)))
    naive = np.bincount(place, click) / np.bincount(place)
    np.testing.assert_allclose(found, naive / naive[0], atol=0.01)


def test_weighted_clicks_of_each_place_add_up_to_those_of_the_first(data: TrainingSet) -> None:
    """Places are random here, so every place would earn the same clicks if it were looked at as the first one is."""
    weights = click_weights(data, min_propensity=0.05)
    rows = data.rows("train", "exposed")
    place, click = data.position[rows].astype(int), data.native[rows, 0]
    plain, weighted = (np.bincount(place, click * w)[1:] / np.bincount(place)[1:] for w in (1, weights[rows]))
    assert plain[4:].mean() < 0.5 * plain[0]
    assert weighted[4:].mean() == pytest.approx(weighted[0], rel=0.35)
    others = np.ones(len(weights), dtype=bool)
    others[rows[click > 0]] = False
    assert (weights[others] == 1).all()


def test_clipping_bounds_every_weight(data: TrainingSet) -> None:
    assert click_weights(data, min_propensity=0.5).max() == 2
    assert click_weights(data, min_propensity=1).max() == 1


def test_a_weight_counts_as_so_many_rows_in_the_gradient() -> None:
    logits = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1.0, 0], [0, 0], [1, 1]], dtype=torch.float64)
    domain, lambdas = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.float64)
    weights = torch.tensor([2.0, 1, 1], dtype=torch.float64)
    weighted = domain_loss(logits, labels, domain, lambdas, weights_B=weights)
    repeated = torch.tensor([0, 0, 1, 2])
    doubled = domain_loss(logits[repeated], labels[repeated], domain[repeated], lambdas) * 4 / 3
    torch.testing.assert_close(weighted, doubled)


@pytest.mark.parametrize("position_bias", ["none", "ipw", "tower"])
def test_what_is_served_has_no_place(data: TrainingSet, tmp_path: Path, position_bias: str) -> None:
    config = CONFIG.model_copy(update={"position_bias": position_bias})
    features = DeviceFeatures.put(data, torch.device("cpu"))
    fitted = fit("dlrm_exposed", data, features, config)
    save_ranker(fitted.ranker, tmp_path)
    served = load_ranker(tmp_path)
    plain = build_ranker(RankerSpec(architecture="dlrm"))
    assert served.ranker.state_dict().keys() == plain.state_dict().keys()
    assert list(inspect.signature(ServingRanker.forward).parameters)[1:] == [
        "numeric_nF",
        "categorical_nC",
        "sequences_nSL",
    ]
    rows = data.rows("test", "exposed")
    scored = predict(fitted.ranker, features, rows)[:, 0]
    inputs = features.take(torch.from_numpy(rows))
    torch.testing.assert_close(torch.from_numpy(scored), served(*inputs)[0], atol=1e-6, rtol=1e-5)


def test_the_tower_learns_that_clicks_become_rare_further_down(data: TrainingSet) -> None:
    torch.manual_seed(0)
    tower = PositionTower(build_ranker(RankerSpec(architecture="dlrm")))
    rows = torch.from_numpy(data.rows("train", "exposed"))
    inputs = DeviceFeatures.put(data, torch.device("cpu")).take(rows)
    place = torch.from_numpy(data.position[rows]).long() - 1
    labels = torch.from_numpy(data.native[rows])
    optimiser = torch.optim.Adam(tower.parameters(), lr=0.02)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(tower(*inputs, place), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    learned = tower.place.weight[:PLACES, 0]
    assert learned[0] == 0
    assert learned[4:].mean() < learned[1:4].mean() - 0.1


def test_the_tower_adds_nothing_at_the_first_place_or_without_one(data: TrainingSet) -> None:
    ranker = build_ranker(RankerSpec(architecture="dlrm")).eval()
    tower = PositionTower(ranker)
    with torch.no_grad():
        tower.place.weight[1:] = 1
    features = DeviceFeatures.put(data, torch.device("cpu"))
    inputs = features.take(torch.arange(2))
    difference = tower(*inputs, torch.tensor([0, 5])) - ranker(*inputs)
    torch.testing.assert_close(difference, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    tower(*inputs, torch.tensor([0, 5])).sum().backward()
    assert tower.place.weight.grad is not None and not tower.place.weight.grad[0].any(), "nor does it learn to"


def test_places_are_a_column_of_training_and_no_feature() -> None:
    assert "position" in CANDIDATE_COLUMNS
    assert "position" not in {feature.name for feature in FEATURES}
