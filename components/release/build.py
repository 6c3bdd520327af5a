"""Build a release: one folder with everything that is served, named by the digest of its content.

Choices (ours):

- Equal content, equal name: reports and manifests are not part of the digest.
- Nothing is built that the gate refused.
- Models are ONNX files, each compared with its PyTorch module on cases of different shapes (`export`).
- One Triton repository for CPU and GPU; the Python models in it are copied as files (`repository`).
- Features travel as the newest row per key; the online store is made from them where the release is served.
- Golden answers, computed offline, travel with it: a served release is compared with them (`golden`).
- Large weights are stored once per machine and hard-linked (`blobs`).
- Every expert's licence texts are in it.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from components.contracts.blend import Blend
from components.contracts.errors import BadInput
from components.contracts.features import feature_schema
from components.contracts.releases import (
    NAME_DIGITS,
    PROFILE,
    RELEVANCE_RELEASE,
    REPORTS,
    SEARCH_RELEASE,
    SIGNING_KEY,
    file_digests,
    release_digest,
    sealed,
)
from components.contracts.signature import sign_release
from components.contracts.text import TEXT_VERSION
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import (
    MANIFEST,
    input_digest,
    package_versions,
    read_json,
    read_manifest,
    stage_directory,
    write_json,
)
from components.features.latest import latest_slice
from components.release.blobs import store_large_files
from components.release.cards import data_card, model_card
from components.release.catalogue import write_catalogue
from components.release.config import ReleaseConfig
from components.release.export import EXPORTERS
from components.release.gate import require_passed
from components.release.golden import write_relevance_golden, write_search_golden
from components.release.inputs import RankingInputs, RelevanceInputs
from components.release.models import export_experts, export_mixture, export_ranker
from components.release.repository import write_relevance_model, write_search_model
from components.relevance.evaluation.report import headline
from components.relevance.experts.weights import LICENCE_FILES
from components.relevance.model.spec import MODEL_FILE, ExpertSpec, MixtureSpec, load_experts
from components.relevance.scoring.reference import ReferenceScorer

_logger = get_logger(__name__)


def build_release(
    relevance: RelevanceInputs,
    ranking: RankingInputs | None,
    config: ReleaseConfig,
    as_of: datetime,
    out: Path,
) -> Path:
    """Export, check, describe and name a release under `out`.

    Args:
        relevance: inputs of every release.
        ranking: inputs of a search release; None builds a relevance-only one.
        config: limits, tolerances and sizes.
        as_of: the instant whose features the release carries.
        out: folder that receives the release; nothing of it is left there if building fails.

    Returns:
        `out`/<first twelve digits of the content's digest>.

    Raises:
        GateRefused: the verdict says so.
        ParityError: an exported model differs from its PyTorch module by more than the tolerance.
        BadInput: inputs are of different runs' shapes.
    """
    require_passed(relevance.verdict)
    mixture = MixtureSpec.load(relevance.model / MODEL_FILE)
    experts = load_experts(relevance.experts)
    log = read_manifest(relevance.log)
    _check_agreement(mixture, experts, log)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".building-") as scratch:
        root = Path(scratch) / "release"
        (root / "golden").mkdir(parents=True)
        parity = [
            *export_mixture(root / "triton", relevance.model, config),
            *export_experts(root / "triton", relevance.experts, experts, config),
        ]
        write_relevance_model(root / "triton", mixture, experts, relevance.model, relevance.experts, config)
        write_catalogue(relevance.log, root / "catalogue.parquet")
        # After the exports: each holds an expert in memory for a while, the scorer holds them all.
        scorer = ReferenceScorer.load(relevance.model, relevance.experts)
        write_relevance_golden(relevance.encodings, scorer, config, root / "golden")
        if ranking:
            parity.append(export_ranker(root / "triton", ranking.ranker, config))
            blend = Blend.load(ranking.ranker / "blend.json")
            blend.save(root / "blend.json")
            write_search_model(root / "triton", blend)
            latest_slice(ranking.features, as_of, root / "features")
            write_search_golden(relevance, ranking, scorer, config, as_of, root / "golden")
        inputs = _directories(relevance, ranking)
        _copy_licences(relevance.experts, experts, root / "licenses")
        _copy_reports(inputs, root / REPORTS)
        facts = _facts(root, inputs, mixture, experts, config, as_of, [p.as_dict() for p in parity])
        _write_cards(root, inputs, experts, facts)
        facts["files"] = file_digests(root, store_large_files(root))
        facts["digest"] = release_digest(facts["files"])
        write_json(root / MANIFEST, sealed(facts))
        target = out / str(facts["digest"])[:NAME_DIGITS]
        if not target.exists():  # else the same content is there already, perhaps being served
            root.rename(target)
    _logger.info("built release %s (%s)", target.name, facts["kind"])
    return target


def build_release_stage(
    relevance: RelevanceInputs,
    ranking: RankingInputs | None,
    config: ReleaseConfig,
    as_of: datetime,
    stage: Path,
) -> Path:
    """`build_release` as a pipeline step: `stage` holds the release's folder and a manifest that names it.

    Where the variable ARCHIPELAGO_SIGNING_KEY names a private key's file, the release is signed with it.

    Returns:
        The release's folder.
    """
    with stage_directory(stage) as root:
        built = build_release(relevance, ranking, config, as_of, root)
        if key := os.environ.get(SIGNING_KEY):
            sign_release(built, Path(key))
        digest = read_manifest(built)["digest"]
        write_json(root / MANIFEST, {"kind": "releases", "release": built.name, "digest": digest})
    return stage / built.name


def _check_agreement(mixture: MixtureSpec, experts: tuple[ExpertSpec, ...], log: Mapping[str, Any]) -> None:
    slots = [(expert.name, expert.dim) for expert in experts]
    if slots != list(zip(mixture.experts, mixture.dims, strict=True)):
        raise BadInput(f"experts {slots} are not the ones the relevance model was trained on: {mixture.experts}")
    if list(mixture.markets) != list(log["markets"]):
        raise BadInput(f"relevance model of markets {mixture.markets}, log of markets {tuple(log['markets'])}")


def _directories(relevance: RelevanceInputs, ranking: RankingInputs | None) -> dict[str, Path]:
    found = {
        "log": relevance.log,
        "experts": relevance.experts,
        "encodings": relevance.encodings,
        "relevance_model": relevance.model,
        "scores": relevance.scores,
        "drift": relevance.drift,
        "verdict": relevance.verdict,
    }
    if ranking:
        found |= {"samples": ranking.samples, "features": ranking.features, "ranker": ranking.ranker}
    return found


def _facts(
    root: Path,
    inputs: Mapping[str, Path],
    mixture: MixtureSpec,
    experts: tuple[ExpertSpec, ...],
    config: ReleaseConfig,
    as_of: datetime,
    parity: list[dict[str, Any]],
) -> dict[str, Any]:
    """The manifest, but for digests of what is still to be written."""
    ranks = "ranker" in inputs
    return {
        "kind": SEARCH_RELEASE if ranks else RELEVANCE_RELEASE,
        "markets": list(mixture.markets),
        "k": mixture.top_k,
        "experts": [{"name": e.name, "licence": e.licence, "digest": e.digest} for e in experts],
        "feature_schema": feature_schema() if ranks else None,
        "text_version": TEXT_VERSION,
        "simulated": read_manifest(inputs["log"])["simulated"],
        "as_of": as_of.isoformat(),
        "config": config.model_dump(mode="json"),
        "inputs": {name: input_digest(path) for name, path in inputs.items()},
        "metrics": {"parity": parity},
        "figures": headline(inputs["relevance_model"]),
        "reports": sorted(path.name for path in (root / REPORTS).glob("*.html")),
        "versions": package_versions(["archipelago-search", "numpy", "pyarrow", "transformers", *EXPORTERS]),
    }


def _write_cards(
    root: Path,
    inputs: Mapping[str, Path],
    experts: tuple[ExpertSpec, ...],
    facts: Mapping[str, Any],
) -> None:
    config, log = facts["config"], read_manifest(inputs["log"])
    limits = {name: config[name] for name in ("max_computed", "deadline_ms", "micro_batch", "serving_tolerance")}
    ranker = read_manifest(inputs["ranker"]) if "ranker" in inputs else None
    relevance = read_manifest(inputs["relevance_model"])
    card = model_card(log, relevance, ranker, experts, facts["metrics"]["parity"], limits)
    (root / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    volumes = read_json(inputs["samples"] / "volumes.json") if "samples" in inputs else None
    (root / "DATA_CARD.md").write_text(data_card(log, volumes, facts["inputs"]), encoding="utf-8")


def _copy_licences(weights: Path, experts: tuple[ExpertSpec, ...], out: Path) -> None:
    """Licence texts of every expert's weights, by expert; a line that says so where an expert brought none."""
    for expert in experts:
        folder = out / expert.name
        folder.mkdir(parents=True)
        texts = sorted({path for pattern in LICENCE_FILES for path in (weights / expert.name).glob(pattern)})
        for path in texts:
            shutil.copyfile(path, folder / path.name)
        if not texts:
            (folder / "LICENCE.txt").write_text(f"{expert.source}: {expert.licence}\n", encoding="utf-8")


def _copy_reports(inputs: Mapping[str, Path], out: Path) -> None:
    """Pages for people, and the drift check's profile of the log, which later data is compared with."""
    out.mkdir()
    for folder in inputs.values():
        for pattern in (f"{REPORTS}/*.html", PROFILE):
            for report in sorted(folder.glob(pattern)):
                shutil.copyfile(report, out / report.name)
