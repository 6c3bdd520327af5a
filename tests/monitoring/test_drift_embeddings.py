"""Embedding drift: a moved mix of vectors is found, a user's repeats and identical vectors are not drift."""

import numpy as np
import pandas as pd
import pytest

from components.monitoring.embeddings import Vectors, compare_vectors
from components.monitoring.findings import Finding, control, rate
from tests.monitoring.drift_world import CONFIG

ROWS, TEXTS, USERS = 2000, 100, 200


def _compare(weights: np.ndarray | None = None, values: np.ndarray | None = None, users: int = USERS):
    """Reference and current rows that draw from the same texts, current ones by other weights."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(TEXTS, 16)).astype(np.float32) if values is None else values
    vectors = vectors[np.argsort(vectors[:, 0])]  # texts that are alike are close in number
    frames, rows = {}, {}
    for window, p in (("reference", None), ("current", weights)):
        frames[window] = pd.DataFrame({"market": "TH", "user_id": rng.integers(0, users, ROWS).astype(str)})
        rows[window] = rng.choice(TEXTS, ROWS, p=p)
    (finding,) = compare_vectors(*frames.values(), Vectors("title", rows, vectors), "user_id", CONFIG)
    return _rated(finding)


def _rated(finding: Finding) -> Finding:
    return rate(control([finding], CONFIG)[0], CONFIG)


def test_the_same_mix_does_not_drift() -> None:
    finding = _compare()
    assert finding.severity == "none" and 0.4 < finding.size < 0.56


def test_another_mix_drifts() -> None:
    weights = np.r_[np.full(TEXTS // 2, 1.8), np.full(TEXTS // 2, 0.2)] / TEXTS
    finding = _compare(weights)
    assert finding.severity == "warning" and finding.size > CONFIG.embedding_threshold


def test_identical_vectors_do_not_drift() -> None:
    finding = _compare(values=np.ones((TEXTS, 16), dtype=np.float32))
    assert finding.size == pytest.approx(0.5) and finding.severity == "none"


def test_a_users_repeats_are_not_drift() -> None:
    # Every user has one text of their own and is seen in one window only: a random split of rows would tell them apart.
    rng = np.random.default_rng(0)
    frames, rows = {}, {}
    for number, window in enumerate(("reference", "current")):
        user = rng.integers(0, 150, ROWS) + 150 * number
        frames[window] = pd.DataFrame({"market": "TH", "user_id": user, "order": range(ROWS)})
        rows[window] = user
    vectors = Vectors("query", rows, rng.normal(size=(300, 64)).astype(np.float32))
    config = CONFIG.model_copy(update={"min_rows": 50})
    (finding,) = compare_vectors(*frames.values(), vectors, "user_id", config)
    assert _rated(finding).severity == "none"


def test_rows_without_a_vector_are_left_out_and_too_few_are_reported() -> None:
    frame = pd.DataFrame({"market": "TH", "user_id": np.arange(500)})
    rows = {"reference": np.arange(500), "current": np.r_[np.arange(150), np.full(350, -1)]}
    vectors = Vectors("title", rows, np.random.default_rng(0).normal(size=(500, 4)))
    (finding,) = compare_vectors(frame, frame, vectors, "user_id", CONFIG)
    assert not finding.tested and "500 reference and 150 current vectors" in finding.why


def test_too_few_users_are_reported() -> None:
    finding = _compare(users=4)
    assert not finding.tested and "4 distinct users" in finding.why
