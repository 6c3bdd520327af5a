"""The batch scoring pipeline: relevance of any number of pairs, a file of them a step, several at a time."""

from collections.abc import Callable

from kfp import dsl

from components.relevance import component as relevance
from pipelines.pods import apply_all
from pipelines.resources import ResourcesConfig

# Steps at once; where a cluster has fewer free nodes, its own queue holds the rest.
_AT_ONCE = 8


def build_scoring_pipeline(resources: ResourcesConfig | None = None) -> Callable[..., dsl.PipelineTask]:
    """The KFP pipeline; `resources` is what steps ask of a cluster, such as a GPU for `publish-scores`."""

    @dsl.pipeline(
        name="archipelago-batch-scoring",
        description="Relevance of (market, query, title) pairs: every Parquet file of a folder, in steps of their own.",
    )
    def batch_scoring(pairs: str, model: str, experts: str, out: str, precision: str = "bfloat16") -> None:
        """Batch scoring.

        Args:
            pairs: folder of Parquet files with market, query and title, at s3://, gs://, pvc://claim/path or a path.
            model: folder of a relevance model: the artifact of a training run's step train-relevance.
            experts: folder of its experts: the artifact of the same run's step encode.
            out: folder for the scored files. One that lies there already is not scored again.
            precision: of the experts' matrix products on a GPU, bfloat16 or float8.
        """
        shards = relevance.find_shards(pairs=pairs, out=out).output
        with dsl.ParallelFor(items=shards, parallelism=_AT_ONCE, name="shards") as shard:
            relevance.publish_scores(
                shard=shard, pairs=pairs, model=model, experts=experts, out=out, precision=precision
            )
        if resources:
            apply_all(resources)

    return batch_scoring
