"""Tuned experts of a log: one of all judged pairs, to be released, and one per fold, which never saw its queries."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import tree_digest
from components.contracts.training.config import TrainingConfig
from components.contracts.training.jobs import run_job, share
from components.relevance.config import ExpertConfig, RelevanceConfig
from components.relevance.encoding.texts import Pair
from components.relevance.experts.weights import FACTS, expert_spec, prepare_expert
from components.relevance.judgments.judged import training_rows
from components.relevance.model.spec import ExpertSpec
from components.relevance.tuning.job import TUNED, is_tuned, tune_job, write_job

_MODULE = "components.relevance.tuning.job"
_logger = get_logger(__name__)


def tune(
    expert: ExpertConfig,
    judged: pd.DataFrame,
    pairs: Sequence[Pair],
    config: RelevanceConfig,
    fold: int | None,
    training: TrainingConfig,
) -> tuple[Path, ExpertSpec]:
    """Folder and spec of an expert tuned outside a fold, or on all judged pairs (None).

    A tuning that was interrupted, or done before on the same rows, is taken up from the cache.

    Args:
        expert: its `tuning` says how.
        judged: query and label of n pairs.
        pairs: the same, normalised, with their titles.
        config: folds and validation rows.
        fold: the fold whose queries are left out.
        training: by how many processes, where, and where it is kept.

    Raises:
        TrainingFailed: one of several processes ended with an error, or their TrainJob did.
    """
    tuning = expert.tuning
    assert tuning is not None
    train, valid = training_rows(judged["query"], config, fold)
    rows = np.sort(np.concatenate([train, valid]))
    label = judged["label"].to_numpy()[rows]
    spec = expert_spec(expert)
    chosen = [pairs[row] for row in rows]
    folder = share(prepare_expert(expert), f"experts/{spec.digest[:24]}", FACTS, training)

    def write(job: Path) -> None:
        write_job(job, folder, spec, tuning, chosen, label, np.isin(rows, valid))

    _logger.info("tune %s %s: %d pairs", spec.name, "on all" if fold is None else f"outside fold {fold}", len(train))
    tuned = run_job("tuning", write, _MODULE, tune_job, is_tuned, training).path / TUNED
    return tuned, replace(spec, source=f"{expert.source}, tuned on the judgments", digest=tree_digest(tuned))
