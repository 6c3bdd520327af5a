"""Configuration of the ranking stage."""

from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from components.contracts.config import StageConfig
from components.contracts.markets import DOMAINS
from components.ranking.model.spec import Architecture, RankerSpec

RANKING_METRICS = ("auc", "gauc", "hr@5", "ndcg@10")  # of every variant, as `evaluation` defines them
Rows = Literal["exposed", "es3"]


class RankingConfig(StageConfig):
    """Everything the ranking stage may vary; the defaults are the laptop profile's.

    Attributes:
        seed: seed of initial weights, batches and the bootstrap.
        variants: models to train, as ``<architecture>_<rows>``: architectures of `RankerSpec`; rows `exposed` (native
            search exposures with native labels) or `es3` (every sample with its entire-space labels).
        released: the variant that is saved and served.
        baseline: the variant that differences are stated against.
        model: widths of every variant; `architecture` is set from the variant's name.
        domain_weights: lambda_d of the loss (the source states none). Each domain counts by its mean loss, so a row
            of a small domain weighs much: on simulated laptop data 0.5 for rec and shop costs search one point of AUC.
        epochs: passes over a variant's own rows, equal for all; the best of them on the validation part is kept.
        batch_size: rows per step, over all processes.
        learning_rate: peak of a one-cycle schedule (short linear warm-up, cosine to zero).
        weight_decay: AdamW's, on weight matrices.
        embedding_decay: AdamW's, on embedding tables.
        checkpoint_steps: steps between checkpoints.
        position_bias: what is done about the place at which search showed a training row (position.py). "none"; "ipw",
            clicks weigh 1 over their place's propensity; "tower", a part of its own explains places and is not served.
        min_propensity: propensities below it count as it, so that no click weighs more than 1 over it.
        max_scored_auc: AUC against clicks that having a relevance score may have on pseudo rows; above it they give
            their labels away, and rankers on ES3 rows are refused (leak.py).
        relevance_auc_tolerance: how far relevance's AUC on pseudo rows may be from that on natively shown ones; the
            same holds beyond it.
        bootstrap: replicates of the paired bootstrap over requests.
        device: "auto" takes a GPU where there is one.
    """

    seed: int = 17
    variants: tuple[str, ...] = ("dlrm_exposed", "hhsft_exposed", "hhfi_es3", "hhsft_es3")
    released: str = "hhsft_es3"
    baseline: str = "dlrm_exposed"
    model: RankerSpec = RankerSpec()
    domain_weights: dict[str, float] = Field(default_factory=lambda: {"search": 1.0, "rec": 0.1, "shop": 0.1})
    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    embedding_decay: float = Field(default=1e-2, ge=0)
    checkpoint_steps: int = Field(default=500, ge=1)
    position_bias: Literal["none", "ipw", "tower"] = "none"
    min_propensity: float = Field(default=0.1, gt=0, le=1)
    max_scored_auc: float = Field(default=0.55, ge=0.5, le=1)
    relevance_auc_tolerance: float = Field(default=0.05, ge=0, le=1)
    bootstrap: int = Field(default=400, ge=0)
    device: str = "auto"

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        for variant in variants:
            split_variant(variant)
        return variants

    @model_validator(mode="after")
    def _coherent(self) -> "RankingConfig":
        for role in (self.released, self.baseline):
            if role not in self.variants:
                raise ValueError(f"{role} is not among the variants {', '.join(self.variants)}")
        if set(self.domain_weights) != set(DOMAINS):
            raise ValueError(f"domain_weights must name {', '.join(DOMAINS)}")
        return self


def split_variant(variant: str) -> tuple[Architecture, Rows]:
    """``hhsft_es3`` -> ("hhsft", "es3"); ValueError if either part is unknown."""
    architecture, _, rows = variant.partition("_")
    if architecture not in get_args(Architecture) or rows not in get_args(Rows):
        raise ValueError(
            f"{variant}: a variant is one of {get_args(Architecture)} and one of {get_args(Rows)}, joined by _"
        )
    return architecture, rows  # type: ignore[return-value]
