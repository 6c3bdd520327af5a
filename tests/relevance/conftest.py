"""One trained model for all tests of the relevance stage."""

import pytest

from tests.relevance.relevance_world import Trained, judgments, tiny_config, write_judgments


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from components.relevance.encode import encode
    from components.relevance.score import score_pairs
    from components.relevance.train import train

    root = tmp_path_factory.mktemp("relevance")
    made = Trained(tiny_config(), *(root / name for name in ("log", "encodings", "experts", "model", "scores")))
    write_judgments(made.log, judgments())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIPELAGO_CACHE", str(root / "cache"))
        encode(made.log, made.config, made.encodings, made.experts)
        train(made.log, made.encodings, made.experts, made.config, made.model)
        score_pairs(made.encodings, made.model, made.scores)
    return made
