"""KFP components of the relevance stage."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def encode(
    log: Input[Dataset],
    config: dict[str, Any],
    training: dict[str, Any],
    encodings: Output[Dataset],
    experts: Output[Model],
) -> None:
    """Encode every pair of the log with every expert, and titles and queries with one.

    Args:
        log: the log.
        config: the profile's section relevance.
        training: the profile's section training.

    Returns:
        encodings: vectors.
        experts: the language models, tuned where the profile says so.
    """
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.contracts.training.config import TrainingConfig
    from components.relevance.config import RelevanceConfig
    from components.relevance.encode import encode as run

    how = TrainingConfig.of_structure(training)
    run(Path(log.path), RelevanceConfig.of_structure(config), Path(encodings.path), Path(experts.path), how)
    encodings.metadata.update(facts(Path(encodings.path)))
    experts.metadata.update(facts(Path(experts.path)))


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def train_relevance(
    log: Input[Dataset],
    encodings: Input[Dataset],
    experts: Input[Model],
    config: dict[str, Any],
    model: Output[Model],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Train and evaluate router and fusion on the log's judgments.

    Args:
        log: the log, for its judgments.
        encodings: their pairs as the experts see them.
        experts: the language models.
        config: the profile's section relevance.

    Returns:
        model: router and fusion.
        metrics: AUC of every variant.
        roc: the mixture's ROC curve.
        report: every variant's figures by market.
    """
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.relevance.config import RelevanceConfig
    from components.relevance.evaluation.report import headline, log_artifacts
    from components.relevance.train import train as run

    settings = RelevanceConfig.of_structure(config)
    run(Path(log.path), Path(encodings.path), Path(experts.path), settings, Path(model.path))
    log_artifacts(Path(model.path), metrics, roc, Path(report.path))
    model.metadata.update(facts(Path(model.path)) | headline(Path(model.path)))


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def score_relevance(encodings: Input[Dataset], model: Input[Model], scores: Output[Dataset]) -> None:
    """Score every encoded pair.

    Args:
        encodings: pairs as the experts see them.
        model: router and fusion.

    Returns:
        scores: relevance of each pair.
    """
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.relevance.score import score_pairs

    score_pairs(Path(encodings.path), Path(model.path), Path(scores.path))
    scores.metadata.update(facts(Path(scores.path)))


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def score_samples(
    log: Input[Dataset],
    samples: Input[Dataset],
    scores: Input[Dataset],
    experts: Input[Model],
    model: Input[Model],
    config: dict[str, Any],
    completed: Output[Dataset],
) -> None:
    """Score the pairs of samples that have no score yet, with the same experts and model.

    Args:
        log: the log, for its titles.
        samples: entire-space samples.
        scores: relevance of the log's own pairs.
        experts: the language models.
        model: router and fusion.
        config: the profile's section relevance.

    Returns:
        completed: those scores, and one of every other pair of the samples.
    """
    from pathlib import Path

    from components.contracts.tools.manifest import facts
    from components.relevance.complete import complete_scores
    from components.relevance.config import RelevanceConfig

    complete_scores(
        log=Path(log.path),
        samples=Path(samples.path),
        scores=Path(scores.path),
        experts=Path(experts.path),
        model=Path(model.path),
        config=RelevanceConfig.of_structure(config),
        out=Path(completed.path),
    )
    completed.metadata.update(facts(Path(completed.path)))


@dsl.component(base_image="archipelago-data", install_kfp_package=False)
def find_scores(location: str, scores: Output[Dataset]) -> None:
    """Take the relevance scores of an earlier run.

    Args:
        location: folder of scores, as a training run's step score-samples left it.

    Returns:
        scores: relevance of (market, query, item).
    """
    import shutil
    import tempfile
    from pathlib import Path

    from components.contracts.locations import local_copy
    from components.contracts.tools.manifest import facts

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(local_copy(location, Path(folder)), scores.path, dirs_exist_ok=True)
    scores.metadata.update(facts(Path(scores.path)))


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def find_shards(pairs: str, out: str) -> list[str]:
    """List the files of pairs that are to be scored.

    Args:
        pairs: folder of Parquet files.
        out: folder that the scores go to.

    Returns:
        Output: their names.
    """
    from components.relevance.scoring.shards import shard_names

    return shard_names(pairs, out)


@dsl.component(base_image="archipelago-train", install_kfp_package=False)
def publish_scores(shard: str, pairs: str, model: str, experts: str, out: str, precision: str) -> int:
    """Score one file of pairs, unless it was scored before, and put it where the scores are kept.

    Args:
        shard: its name.
        pairs: folder that holds it.
        model: folder of the relevance model.
        experts: folder of the experts it was trained with.
        out: folder that the scores go to.
        precision: of the experts' matrix products, on a GPU.

    Returns:
        Output: the number of rows that were scored.
    """
    from typing import cast

    from components.relevance.encoding.packed_expert import Precision
    from components.relevance.scoring.shards import score_shard

    return score_shard(shard, pairs, model, experts, out, cast(Precision, precision))
