"""Whether pseudo rows give their labels away, judged on what a ranker reads of them.

A pseudo request's query is made from the item that was clicked. If that makes relevance, or having one at all, tell
more or less of the label than where search showed the item, a ranker on such rows learns what holds nowhere else: then
rankers on ES3 rows are refused, and those on exposed rows stand in for them.
"""

from dataclasses import dataclass

import numpy as np

from components.contracts.markets import DOMAIN_CODES
from components.contracts.tools.cells import spell
from components.contracts.tools.resampling import auc
from components.ranking.config import RankingConfig
from components.ranking.dataset import TrainingSet


@dataclass(frozen=True)
class Leak:
    """AUC of one signal alone against clicks of training rows; None where a class is missing.

    Attributes:
        scored: on pseudo rows, of having a relevance score.
        relevance: on pseudo rows, of relevance where there is one, with entire-space labels.
        native: the same on natively shown rows, with native labels.
        reasons: why rankers on ES3 rows are refused, as sentences; none where they are not.
    """

    scored: float | None
    relevance: float | None
    native: float | None
    reasons: tuple[str, ...]


def measure_leak(data: TrainingSet, config: RankingConfig) -> Leak:
    """The leak of the training window's pseudo rows, judged by the configuration's bounds."""
    train = data.split == "train"
    known = np.isfinite(data.relevance)
    pseudo = train & (data.domain != DOMAIN_CODES["search"])
    shown = train & data.exposed & known
    click = data.entire[:, 0]
    scored = auc(click[pseudo], known[pseudo].astype(np.float64))
    relevance = auc(click[pseudo & known], data.relevance[pseudo & known])
    native = auc(data.native[shown, 0], data.relevance[shown])
    reasons = []
    if scored is not None and scored > config.max_scored_auc:
        reasons.append(
            "having a relevance score tells the label of pseudo rows: "
            f"AUC {spell(scored)}, at most {config.max_scored_auc:g} is allowed"
        )
    if relevance is not None and native is not None and abs(relevance - native) > config.relevance_auc_tolerance:
        reasons.append(
            f"relevance tells the label of pseudo rows with AUC {spell(relevance)}, and of natively shown ones with "
            f"{spell(native)}: more than {config.relevance_auc_tolerance:g} apart"
        )
    return Leak(scored, relevance, native, tuple(reasons))


def on_exposed_rows(config: RankingConfig) -> RankingConfig:
    """The same without rankers on ES3 rows: the released one, and the baseline, are those on exposed rows."""

    def exposed(variant: str) -> str:
        return variant.removesuffix("_es3") + "_exposed" if variant.endswith("_es3") else variant

    released, baseline = exposed(config.released), exposed(config.baseline)
    kept = [variant for variant in config.variants if variant == exposed(variant)]
    variants = tuple(dict.fromkeys([*kept, baseline, released]))
    return config.model_copy(update={"variants": variants, "released": released, "baseline": baseline})
