"""The rankers as functions: finite on anything, independent of the batch, the same after saving and exporting."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
from ranking_world import CATEGORICAL_COLUMN, random_features
from torch import Tensor

from components.contracts.errors import BadInput
from components.contracts.features import SEQUENCE_LENGTH
from components.ranking.model.encoder import FeatureEncoder
from components.ranking.model.rankers import Ranker, build_ranker
from components.ranking.model.serving import ServingRanker, load_ranker, save_ranker
from components.ranking.model.spec import Architecture, RankerSpec

ARCHITECTURES = get_args(Architecture)
TOLERANCE = 2e-5


def tensors(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    features = random_features(rows, seed)
    return tuple(torch.from_numpy(x) for x in (features.numeric, features.categorical, features.sequences))  # type: ignore[return-value]


def fresh(architecture: Architecture = "hhsft") -> Ranker:
    torch.manual_seed(0)
    ranker = build_ranker(RankerSpec(architecture=architecture))
    ranker.encoder.fit_numeric(random_features(500, 3).numeric)
    return ranker.eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_row_scores_the_same_in_any_batch(architecture: Architecture) -> None:
    serving = ServingRanker(fresh(architecture)).eval()
    batch = tensors(33)
    whole = serving(*batch)
    alone = [serving(*(x[i : i + 1] for x in batch)) for i in range(33)]
    backwards = serving(*(x.flip(0) for x in batch))
    for output in range(2):
        torch.testing.assert_close(torch.cat([a[output] for a in alone]), whole[output], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(backwards[output].flip(0), whole[output], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unknown_and_absurd_inputs_score_finite(architecture: Architecture) -> None:
    numeric, categorical, sequences = tensors(6)
    numeric[0] = torch.nan
    numeric[1] = torch.inf
    numeric[2] = -1e30
    categorical[3] = 0
    categorical[4] = 10**9
    categorical[5] = -1
    sequences[0] = 0
    sequences[1] = 10**9
    sequences[2] = -5
    for probability in ServingRanker(fresh(architecture)).eval()(numeric, categorical, sequences):
        assert probability.shape == (6,)
        assert torch.isfinite(probability).all()
        assert ((probability > 0) & (probability < 1)).all()


def test_serving_ranks_every_row_as_search() -> None:
    serving = ServingRanker(fresh()).eval()
    numeric, categorical, sequences = tensors(9)
    as_search, as_shop = categorical.clone(), categorical.clone()
    as_search[:, CATEGORICAL_COLUMN["domain_code"]] = 0
    as_shop[:, CATEGORICAL_COLUMN["domain_code"]] = 2
    expected = serving.ranker(numeric, as_search, sequences).sigmoid()
    for output, probability in enumerate(serving(numeric, as_shop, sequences)):
        torch.testing.assert_close(probability, expected[:, output])
    assert not torch.allclose(serving.ranker(numeric, as_shop, sequences).sigmoid(), expected)


def test_numerics_are_standardised_and_unknown_ones_are_flagged() -> None:
    encoder = FeatureEncoder(4, 0.0)
    features = random_features(2000)
    encoder.fit_numeric(features.numeric)
    encoded = encoder(*(torch.from_numpy(x) for x in (features.numeric, features.categorical, features.sequences)))
    for column in range(features.numeric.shape[1]):
        value, known = encoded.values_BF[:, column], encoded.known_BF[:, column]
        assert torch.equal(known > 0, torch.from_numpy(~np.isnan(features.numeric[:, column])))
        assert torch.count_nonzero(value[known == 0]) == 0
        assert abs(float(value[known > 0].mean())) < 0.02
        assert abs(float(value[known > 0].std()) - 1) < 0.02


def test_padded_places_of_a_sequence_change_nothing() -> None:
    ranker = fresh()
    numeric, categorical, sequences = tensors(4)
    sequences[:, :, 3:] = 0
    padded = ranker(numeric, categorical, sequences)
    ranker.encoder.tables["item"].weight.data[0] += 100.0  # what stands behind the padding code
    ranker.encoder.tables["category"].weight.data[0] += 100.0
    categorical[:, CATEGORICAL_COLUMN["item_bucket"]].clamp_(min=1)
    torch.testing.assert_close(ranker(numeric, categorical, sequences), padded)


def test_identifiers_are_forgotten_in_training_only() -> None:
    encoder = FeatureEncoder(4, id_dropout=1.0)
    inputs = tensors(5)
    unknown = encoder.tables["item"].weight[0].expand(5, -1)
    assert torch.equal(encoder.train()(*inputs).embeddings["item_bucket"], unknown)
    assert not torch.equal(encoder.eval()(*inputs).embeddings["item_bucket"], unknown)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_rankers_load_to_the_same_function(tmp_path: Path, architecture: Architecture) -> None:
    ranker = fresh(architecture)
    save_ranker(ranker, tmp_path)
    batch = tensors(7)
    for loaded, expected in zip(load_ranker(tmp_path)(*batch), ServingRanker(ranker).eval()(*batch), strict=True):
        assert torch.equal(loaded, expected)


def test_a_ranker_of_other_features_or_other_weights_is_refused(tmp_path: Path) -> None:
    save_ranker(fresh(), tmp_path)
    spec = json.loads((tmp_path / "ranker.json").read_text())
    other = json.loads(json.dumps(spec))
    other["features"][0][0] = "renamed"
    (tmp_path / "ranker.json").write_text(json.dumps(other))
    with pytest.raises(BadInput, match="trained on features"):
        load_ranker(tmp_path)
    spec["spec"]["token_width"] = 64
    (tmp_path / "ranker.json").write_text(json.dumps(spec))
    with pytest.raises(BadInput, match="not this ranker's weights"):
        load_ranker(tmp_path)
    (tmp_path / "ranker.safetensors").write_bytes(b"cut short")
    with pytest.raises(BadInput, match="not this ranker's weights"):
        load_ranker(tmp_path)
    (tmp_path / "ranker.json").unlink()
    with pytest.raises(BadInput, match=r"ranker\.json"):
        load_ranker(tmp_path)


def test_exported_to_onnx_it_scores_the_same_for_any_number_of_candidates(tmp_path: Path) -> None:
    serving = ServingRanker(fresh()).eval()
    rows = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        serving,
        tensors(3),
        dynamo=True,
        input_names=["numeric", "categorical", "sequences"],
        output_names=["p_click", "p_purchase"],
        dynamic_shapes=[{0: rows}, {0: rows}, {0: rows}],
        verbose=False,
    )
    program.save(tmp_path / "ranker.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "ranker.onnx", providers=["CPUExecutionProvider"])
    for n in (1, 2, 50, 301):
        batch = tensors(n, seed=n)
        batch[2][0, :, SEQUENCE_LENGTH // 2 :] = 0
        named = {i.name: x.numpy() for i, x in zip(session.get_inputs(), batch, strict=True)}
        with torch.inference_mode():
            expected = serving(*batch)
        for found, wanted in zip(session.run(None, named), expected, strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted.numpy(), atol=TOLERANCE)


def test_wider_models_are_a_matter_of_the_spec() -> None:
    wide = replace(RankerSpec(), token_width=48, gfa_width=64, hfa_layers=3, gfa_blocks=5)
    assert build_ranker(wide).eval()(*tensors(2)).shape == (2, 2)
