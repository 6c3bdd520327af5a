"""Train and evaluate the relevance model on a log's judgments.

Shape suffixes: S seeds, n pairs, N experts, K experts chosen, D width of a vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.contracts.tools.cells import Estimate, spell
from components.contracts.tools.device import compute_device
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import input_digest, read_manifest, stage_directory, write_json, write_manifest
from components.relevance.config import EXPERTS_ALONE, TFIDF, RelevanceConfig
from components.relevance.evaluation.figures import (
    active_parameters,
    evaluate,
    folds_balance,
    routing_balance,
    routing_shares,
)
from components.relevance.evaluation.report import RelevanceFigures, write_relevance_report
from components.relevance.evaluation.spaces import compare_spaces
from components.relevance.fitting.blend import EXPERTS_ONLY, fit_blend
from components.relevance.fitting.crossfit import CrossFit, cross_fit, fit_singles, fit_variant
from components.relevance.fitting.fit import History
from components.relevance.fitting.lexical import fit_lexical
from components.relevance.fitting.networks import build_single, variant_spec
from components.relevance.judgments.judged import Judged, load_judged, training_rows
from components.relevance.metrics.calibration import calibrate, calibration_error, fit_platt, thresholds
from components.relevance.model.fusion import ConcatFusion, fused_parameters
from components.relevance.model.lexical import Lexical
from components.relevance.model.mixture import Mixture
from components.relevance.model.spec import ExpertSpec, FusionSpec, MixtureSpec, RouterSpec, load_experts
from components.relevance.score import THRESHOLDS

_logger = get_logger(__name__)


def train(log: Path, encodings: Path, experts: Path, config: RelevanceConfig, out: Path) -> None:
    """Write the `relevance_model` directory: weights, model.json, thresholds.json, reports/relevance.html, metrics.

    Every figure comes from out-of-fold predictions; the released model is then fitted on all judged pairs, and carries
    the calibration that the out-of-fold logits gave.

    Raises:
        BadInput: the judgments have one class only, or too few queries.
    """
    specs = load_experts(experts)
    load = partial(load_judged, log, encodings, specs, config)
    data = load()
    spec = mixture_spec(data, specs, config)
    crossed = cross_fit(data, spec, config, load)
    metrics = evaluate(data, crossed, config)
    market, label = data.frame["market"].to_numpy(), data.label.numpy()
    # The first seed's logits: what one model gives, as the released one will.
    released = fit_released(data, spec, config, {name: logits_Sn[0] for name, logits_Sn in crossed.logits.items()})
    relevance, mixture = released.relevance, released.mixture
    theta = thresholds(market, label, relevance, data.markets)
    shares, released_mask = _routes(mixture, data)
    metrics |= {
        "thresholds": theta,
        "lexical_share": released.lexical_share,
        "calibration_error": calibration_error(label, relevance),
        "best_single": crossed.best_single,
        "routing": {
            name: dict(zip(spec.experts, row.tolist(), strict=True))
            for name, row in zip(data.markets, shares, strict=True)
        },
        "balance": {name: folds_balance(mask_SnN, crossed.fold) for name, mask_SnN in crossed.masks.items()}
        | {"released": routing_balance(released_mask)},
        "head_parameters": _head_parameters(spec, crossed, data, config),
        "active_parameters": active_parameters(crossed, _parameters(encodings, specs), config),
        "spaces": compare_spaces(data, crossed, spec, config),
        "judged": _counts(data, crossed),
        "judgments": data.frame["market"].value_counts().to_dict(),
        "licences": {expert.name: expert.licence for expert in specs},
        "cut": read_manifest(encodings)["metrics"].get("cut", {}),
    }
    _log_aucs(metrics)
    for name, balance in metrics["balance"].items():
        if balance["collapsed"]:
            _logger.warning("a router of %s has collapsed: it sends almost no pair to one of the experts", name)
    with stage_directory(out) as root:
        mixture.save(root)
        write_json(root / THRESHOLDS, theta)
        simulated = bool(read_manifest(log).get("simulated", False))
        figures = RelevanceFigures(data, crossed, metrics, relevance, shares, released.history, spec.experts, simulated)
        write_relevance_report(root, figures)
        inputs = {"log": input_digest(log), "encodings": input_digest(encodings), "experts": input_digest(experts)}
        config_used = config.model_dump(mode="json")
        packages = ["torch", "scikit-learn"]
        write_manifest(root, "relevance-model", config_used, inputs, metrics, packages, simulated=simulated)


def mixture_spec(data: Judged, specs: tuple[ExpertSpec, ...], config: RelevanceConfig) -> MixtureSpec:
    """The mixture's shape for these markets and experts."""
    return MixtureSpec(
        markets=data.markets,
        experts=tuple(spec.name for spec in specs),
        dims=tuple(spec.dim for spec in specs),
        top_k=config.top_k,
        router=RouterSpec(config.ngram_buckets, config.max_ngrams, config.router_width),
        fusion=FusionSpec(config.fusion_hidden, config.input_dropout, config.dropout),
    )


@dataclass(frozen=True)
class Released:
    """What `fit_released` found.

    Attributes:
        mixture: with its calibration.
        relevance: calibrated out-of-fold relevance of the judged pairs, float64 (n,).
        lexical_share: how much of the say the lexical expert has, 0..1; None where none was wanted.
        history: losses of the mixture's fit.
    """

    mixture: Mixture
    relevance: np.ndarray
    lexical_share: float | None
    history: History


def fit_released(
    data: Judged, spec: MixtureSpec, config: RelevanceConfig, out_of_fold: Mapping[str, np.ndarray]
) -> Released:
    """The released mixture, fitted on all judged pairs but the validation queries that stop it.

    It is blended with the lexical expert, and calibrated, as the out-of-fold logits (n,) of EXPERTS_ALONE and TFIDF
    want it; without a lexical expert, as those of the first variant do.
    """
    label, variant = data.label.numpy(), config.variants[0]
    experts_n = out_of_fold[EXPERTS_ALONE if config.lexical else variant.name]
    lexical_n = out_of_fold[TFIDF]
    blend = fit_blend(experts_n, lexical_n, label) if config.lexical else EXPERTS_ONLY
    logits_n = blend.logits(experts_n, lexical_n)
    platt = fit_platt(logits_n, label)

    rows, valid = training_rows(data.frame["query"], config, None)
    seed = config.seed + config.folds
    lexical = fit_lexical(data.frame, label, rows, valid) if blend.lexical else Lexical.silent()
    data = data.to(compute_device())
    singles = fit_singles(data, spec, rows, valid, config, seed) if variant.router == "rule" else {}
    network, history = fit_variant(variant, data, spec, rows, valid, config, seed, singles)
    network.cpu()
    assert isinstance(network.fusion, ConcatFusion)
    slope, intercept = platt
    network.fusion.calibration.copy_(torch.tensor([slope * blend.experts, slope * blend.lexical, intercept]))
    mixture = Mixture(network.router, network.fusion, variant_spec(variant, spec), lexical)
    share = blend.share if config.lexical else None
    return Released(mixture, calibrate(logits_n, platt), share, history)


@torch.inference_mode()
def _routes(mixture: Mixture, data: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Shares (markets, experts) and masks (n, experts) of the judged pairs."""
    chosen_nK, mask_nN = mixture.router(data.ngrams, data.market)
    market = data.frame["market"].to_numpy()
    return routing_shares(chosen_nK.numpy(), market, data.markets, len(mixture.spec.experts)), mask_nN.numpy()


def _head_parameters(spec: MixtureSpec, crossed: CrossFit, data: Judged, config: RelevanceConfig) -> dict[str, int]:
    """What each variant's head has to learn with, and each model's alone: equal by construction, and counted."""
    heads = {name: build_single(spec, slot, 0) for slot, name in enumerate(spec.experts)}
    if config.dense is not None:
        dense_nD = data.of_fold(0).dense  # a tuned one is there in folds alone
        assert dense_nD is not None
        heads[config.dense.name] = build_single(spec, 0, 0, dense_nD.shape[1])
    return {name: fused_parameters(head.fusion) for name, head in (crossed.networks | heads).items()}


def _parameters(encodings: Path, specs: tuple[ExpertSpec, ...]) -> dict[str, int]:
    """Active parameters of each expert in slot order, then of the dense baseline where there is one."""
    dense = read_manifest(encodings).get("dense")
    return {spec.name: spec.parameters for spec in specs} | ({dense["name"]: dense["parameters"]} if dense else {})


def _counts(data: Judged, crossed: CrossFit) -> dict[str, Any]:
    return {
        "pairs": len(data),
        "queries": int(data.frame["query"].nunique()),
        "positives": int(data.label.sum()),
        "fold_rows": np.bincount(crossed.fold).tolist(),
    }


def _log_aucs(metrics: dict[str, Any]) -> None:
    _logger.info("out-of-fold AUC, pooled over markets, with its 95 % interval")
    for variant, row in metrics["relevance"].items():
        _logger.info("  %-17s %s", variant, spell(Estimate.of(row["pooled"], row["interval"]["pooled"])))
