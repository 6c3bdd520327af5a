"""The Python models of a release, with Triton played by functions: routing, micro-batches, priors, errors."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.contracts import blend, text
from components.contracts.blend import Blend
from components.relevance.encoding.texts import CutCounts
from components.relevance.model.lexical import Lexical

MODELS = Path(__file__).resolve().parents[2] / "serving" / "triton" / "models"
Run = Callable[[str, dict[str, np.ndarray], list[str]], list[np.ndarray]]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"under_test_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the mixture ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of two experts, whose tokenizer splits at spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    root = tmp_path_factory.mktemp("mixture")
    words = {word: place for place, word in enumerate(["<pad>", "a", "b", "c", "<unk>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(root / "tokenizer.json"))
    expert = {"tokenizer": "tokenizer.json", "max_tokens": 6, "pad_id": 0}
    settings = {
        "markets": ["ID", "TH"],
        "micro_batch": 2,
        "router": {"ngram_buckets": 64, "max_ngrams": 8},
        "experts": [
            expert | {"model": "expert_one", "template": "{query} {item}", "dim": 3},
            expert | {"model": "expert_two", "template": "{item}", "dim": 2},
        ],
    }
    (root / "settings.json").write_text(json.dumps(settings))
    one = np.ones(1, dtype=np.float32)
    Lexical(np.array(["zz"]), one, 2 * one, 3 * one, np.array([4, 0], dtype=np.float32)).save(root / "lexical.npz")
    return root


class FakeModels:
    """Market ID goes to expert one, TH to expert two; a vector holds its text's token count; fusion adds them up."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, np.ndarray, np.ndarray]] = []

    def __call__(self, model: str, feeds: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        if model == "router":
            assert outputs == ["experts", "mask"]
            chosen = feeds["market"]
            return [chosen[:, None], np.eye(2, dtype=np.float32)[chosen]]
        if model == "fusion":
            total = feeds["pooled_0"].sum(1) + feeds["pooled_1"].sum(1)
            return [(total * 0.01 + feeds["lexical"]).astype(np.float32)]
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        self.calls.append((model, ids, mask))
        width = {"expert_one": 3, "expert_two": 2}[model]
        return [np.repeat(mask.sum(1, keepdims=True), width, axis=1).astype(np.float32)]


def test_only_chosen_experts_are_called_and_rows_keep_their_places(folder: Path) -> None:
    models = FakeModels()
    served = load(MODELS / "relevance" / "mixture.py").ServedMixture(folder, models, text, CutCounts())
    relevance, experts = served.score(["TH", "ID", "TH"], ["a", "a b", "b"], ["a b c", "c", "a"])
    assert experts.tolist() == [[1], [0], [1]]
    np.testing.assert_allclose(relevance, [0.06, 0.09, 0.02], atol=1e-6)
    assert [name for name, _, _ in models.calls] == ["expert_one", "expert_two"]
    served.score(["ID"], ["a"], ["a"])
    assert models.calls[-1][0] == "expert_one"


def test_the_lexical_expert_reads_the_normal_form_of_every_pair(folder: Path) -> None:
    served = load(MODELS / "relevance" / "mixture.py").ServedMixture(folder, FakeModels(), text, CutCounts())
    relevance, _ = served.score(["TH"] * 4, ["q", " ZZ", "q", "Zz"], ["q", "q", "ZZ top", "zz\u200b"])
    np.testing.assert_allclose(relevance, [0.02, 2.02, 3.04, 9.02], atol=1e-6)


def test_micro_batches_hold_texts_of_similar_length_padded_on_the_right(folder: Path) -> None:
    models = FakeModels()
    served = load(MODELS / "relevance" / "mixture.py").ServedMixture(folder, models, text, CutCounts())
    titles = ["a a a a", "a", "a a a", "a a"]
    relevance, _ = served.score(["TH"] * 4, ["q"] * 4, titles)
    np.testing.assert_allclose(relevance, [0.08, 0.02, 0.06, 0.04], atol=1e-6)
    assert [mask.tolist() for _, _, mask in models.calls] == [[[1, 0], [1, 1]], [[1, 1, 1, 0], [1, 1, 1, 1]]]
    assert all(((ids == 0) == (mask == 0)).all() for _, ids, mask in models.calls)


def test_long_texts_are_cut(folder: Path) -> None:
    models = FakeModels()
    served = load(MODELS / "relevance" / "mixture.py").ServedMixture(folder, models, text, CutCounts())
    served.score(["TH"], ["q"], ["a " * 50])
    assert models.calls[-1][1].shape == (1, 6)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [((["XX"], ["q"], ["t"]), "unknown market 'XX'"), ((["ID"], ["q", "r"], ["t"]), "must be equal")],
)
def test_bad_pairs_are_refused(folder: Path, pairs: tuple[list[str], ...], message: str) -> None:
    served = load(MODELS / "relevance" / "mixture.py").ServedMixture(folder, FakeModels(), text, CutCounts())
    with pytest.raises(ValueError, match=message):
        served.score(*pairs)


# --- search -----------------------------------------------------------------------------------------------------------


class FakeTriton(ModuleType):
    """`triton_python_backend_utils` as far as the models use it; `answer` plays the other models."""

    def __init__(self, answer: Run) -> None:
        super().__init__("triton_python_backend_utils")
        self.Tensor = lambda name, array: SimpleNamespace(name=name, as_numpy=lambda: array)
        self.TritonError = lambda message: SimpleNamespace(message=lambda: message)
        self.get_input_tensor_by_name = lambda request, name: self.Tensor(name, request[name])
        self.get_output_tensor_by_name = lambda response, name: response.outputs[name]
        self.InferenceResponse = self._response
        self.InferenceRequest = lambda model_name, requested_output_names, inputs: SimpleNamespace(
            exec=lambda: self._exec(answer, model_name, requested_output_names, inputs)
        )

    def _response(self, tensors: Any = (), error: Any = None) -> SimpleNamespace:
        outputs = {tensor.name: tensor for tensor in tensors}
        return SimpleNamespace(outputs=outputs, has_error=lambda: error is not None, error=lambda: error)

    def _exec(self, answer: Run, model: str, names: list[str], inputs: list[Any]) -> SimpleNamespace:
        try:
            values = answer(model, {tensor.name: tensor.as_numpy() for tensor in inputs}, names)
        except RuntimeError as error:
            return self._response(error=self.TritonError(str(error)))
        return self._response([self.Tensor(name, value) for name, value in zip(names, values, strict=True)])


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Run], Any]]:
    """A function that makes the model, with the other models' answers."""
    (tmp_path / "1").mkdir()
    Blend((1.0, 1.0, 0.0), 0.0, {"TH": 0.25}).save(tmp_path / "1" / "blend.json")

    def make(answer: Run) -> Any:
        monkeypatch.setitem(sys.modules, "triton_python_backend_utils", FakeTriton(answer))
        monkeypatch.setitem(sys.modules, "blend", blend)
        model = load(MODELS / "search" / "model.py").TritonPythonModel()
        model.initialize(
            {
                "model_config": json.dumps({"parameters": {"relevance_column": {"string_value": "1"}}}),
                "model_repository": str(tmp_path),
                "model_version": "1",
            }
        )
        return model

    yield make


def request(relevance: list[float], market: str = "TH") -> dict[str, np.ndarray]:
    n = len(relevance)
    return {
        "numeric": np.stack([np.arange(n), relevance], axis=1).astype(np.float32),
        "categorical": np.zeros((n, 2), dtype=np.int64),
        "sequences": np.zeros((n, 1, 3), dtype=np.int64),
        "market": np.array([market.encode()], dtype=object),
    }


class Ranker:
    """Answers 0.5 and remembers the relevance it saw; no other model may be called."""

    def __init__(self) -> None:
        self.seen: np.ndarray | None = None

    def __call__(self, model: str, feeds: dict[str, np.ndarray], _: list[str]) -> list[np.ndarray]:
        assert model == "ranker"
        self.seen = feeds["numeric"][:, 1]
        return [np.full(len(self.seen), 0.5, dtype=np.float32)] * 2


def answer(model: Any, asked: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    (response,) = model.execute([asked])
    assert not response.has_error(), response.error().message()
    return {name: tensor.as_numpy().tolist() for name, tensor in response.outputs.items()}


def test_the_ranker_sees_what_is_known_and_the_blend_a_prior_where_nothing_is(search: Callable[[Run], Any]) -> None:
    ranker = Ranker()
    out = answer(search(ranker), request([0.5, float("nan"), 0.125]))
    assert list(out) == ["score", "relevance", "p_click", "p_purchase"]
    assert out["relevance"] == [0.5, 0.25, 0.125]
    np.testing.assert_allclose(out["score"], out["relevance"], atol=1e-6)  # the ranker's logit is 0, weights are 1
    assert ranker.seen is not None
    np.testing.assert_array_equal(ranker.seen, np.array([0.5, float("nan"), 0.125], dtype=np.float32))


def test_a_failing_model_fails_its_own_request_alone(search: Callable[[Run], Any]) -> None:
    ranker = Ranker()

    def moody(model: str, feeds: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
        if np.isnan(feeds["numeric"][:, 1]).any():
            raise RuntimeError("out of order")
        return ranker(model, feeds, names)

    first, second = search(moody).execute([request([float("nan")]), request([0.5])])
    assert "search: model ranker: out of order" in first.error().message()
    assert not second.has_error()
