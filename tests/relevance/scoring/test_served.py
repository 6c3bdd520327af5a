"""Packed experts and their mixture as a server holds them: offline answers, in any order and however often."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.contracts.errors import BadInput
from components.relevance.config import ExpertConfig
from components.relevance.model.mixture import new_mixture
from components.relevance.model.spec import FusionSpec, MixtureSpec, RouterSpec
from components.relevance.packed.tokens import Tokens
from components.relevance.scoring.reference import ReferenceScorer
from components.relevance.scoring.served import EXPERTS, PackedMixture, ServedExpert
from tests.relevance.relevance_world import frozen_experts, lexical_expert

CPU = torch.device("cpu")
SIZES = (64, 256)
# Of a relevance in bfloat16 from float32: ten times what these experts show.
BFLOAT16_TOLERANCE = 0.001
MARKETS = ("ID", "TH")
_SEGMENTS = {"pooling": "segments", "separator": "<eos>", "template": "{market} {query}<eos>{item}"}
CONFIGS = (
    ExpertConfig(name="bert", source="tiny:bert", max_tokens=24, **_SEGMENTS),
    ExpertConfig(name="qwen", source="tiny:qwen3", pooling="last", max_tokens=48),
    ExpertConfig(name="gemma", source="tiny:gemma3", max_tokens=32),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    (root / EXPERTS).mkdir()
    specs = frozen_experts(CONFIGS, root / EXPERTS)
    names, dims = zip(*((spec.name, spec.dim) for spec in specs), strict=True)
    spec = MixtureSpec(MARKETS, names, dims, 2, RouterSpec(256, 24, 8), FusionSpec((16, 8), 0.1, 0.1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        mixture = replace(new_mixture(spec), lexical=lexical_expert())
        mixture.fusion.calibration.copy_(torch.tensor([1.0, 0.7, 0.1]))
        for parameter in mixture.router.parameters():
            torch.nn.init.normal_(parameter, std=1.5)
        mixture.save(root)
    return root


@pytest.fixture(scope="module")
def pairs() -> tuple[list[str], list[str], list[str]]:
    """40 raw pairs of 6 queries, whose pairs do not stand together; some pairs come twice, written otherwise."""
    random = np.random.default_rng(0)
    queries = ["casing hp", "  KABEL  data", "sepatu", "เคส มือถือ", "รองเท้า วิ่ง สีดำ", "x"]
    words = ["murah", "สีดำ", "Original", "64GB", "วิ่ง", "hp", "baru"]
    rows = [(number % 6, " ".join(random.choice(words, 1 + number % 9))) for number in range(32)]
    rows += [(query, f" {title}  ") for query, title in rows[:8]]
    return ["ID" if q < 3 else "TH" for q, _ in rows], [queries[q] for q, _ in rows], [title for _, title in rows]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", BFLOAT16_TOLERANCE)])
def test_served_pairs_have_the_offline_relevance(folder: Path, pairs, precision, tolerance: float) -> None:
    mixture = PackedMixture(folder, precision, SIZES, CPU)
    expected, chosen = ReferenceScorer.load(folder, folder / EXPERTS).score(*pairs)
    prepared = mixture.prepare(*pairs)
    relevance_U = mixture.run(prepared).numpy()
    assert len(relevance_U) == 32, "each distinct pair runs once"
    np.testing.assert_allclose(relevance_U[prepared.inverse_n], expected, atol=tolerance)
    assert prepared.chosen_nK.tolist() == chosen.tolist()
    assert len({tuple(sorted(row)) for row in chosen.tolist()}) > 1, "queries of this test go to different experts"


def test_an_expert_reads_the_pairs_that_chose_it_a_querys_together(folder: Path, pairs) -> None:
    mixture = PackedMixture(folder, "float32", SIZES, CPU)
    prepared = mixture.prepare(*pairs)
    for slot, (rows, packs) in enumerate(zip(prepared.rows, prepared.packs, strict=True)):
        assert sorted(rows.tolist()) == np.flatnonzero(prepared.mask_UN[:, slot].numpy()).tolist()
        assert sum(len(pack.rows) for pack in packs) == len(rows)
        # The first 32 rows are distinct, and their queries come in turn.
        queries = [row % 6 for row in rows.tolist()]
        assert [q for at, q in enumerate(queries) if at == 0 or queries[at - 1] != q] == sorted(set(queries))


def test_pairs_that_no_mixture_can_score_are_refused(folder: Path) -> None:
    mixture = PackedMixture(folder, "float32", SIZES, CPU)
    with pytest.raises(BadInput, match="1 markets, 1 queries and 2 titles"):
        mixture.check(["ID"], ["q"], ["t", "u"])
    with pytest.raises(BadInput, match=r"unknown market 'XX' \(served: ID, TH\)"):
        mixture.check(["ID", "XX"], ["q"] * 2, ["t"] * 2)
    with pytest.raises(BadInput, match="no pairs"):
        mixture.check([], [], [])
    mixture.check(["ID"], ["q"], ["t"])


def test_packs_must_hold_the_longest_text(folder: Path) -> None:
    with pytest.raises(BadInput, match="expert qwen: texts of 48 tokens do not fit packs of 32"):
        PackedMixture(folder, "float32", (16, 32), CPU)


def test_tokens_from_outside_are_checked(folder: Path) -> None:
    (spec,) = (spec for spec in PackedMixture(folder, "float32", SIZES, CPU).experts if spec.spec.name == "gemma")
    assert isinstance(spec, ServedExpert)
    good = Tokens(np.array([1, 2, 3], dtype=np.int32), np.array([1, 2]))
    spec.check(good)
    assert spec.run(spec.packed(good)).shape == (2, spec.spec.dim)
    for ids, lengths, message in (
        ([1], [], "lengths: empty"),
        ([1] * 33, [33], "lengths: 33, expected 1 to 32"),
        ([1, 2], [0, 2], "lengths: 0, expected 1 to 32"),
        ([1, 2], [1], "ids: 2 tokens, but lengths add up to 1"),
        ([spec.vocabulary], [1], f"ids: {spec.vocabulary}, expected 0 to {spec.vocabulary - 1}"),
        ([-1], [1], "ids: -1"),
    ):
        with pytest.raises(BadInput, match=message):
            spec.check(Tokens(np.array(ids, dtype=np.int32), np.array(lengths, dtype=np.int64)))
