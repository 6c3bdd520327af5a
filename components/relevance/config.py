"""Configuration of the relevance stage."""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.contracts.config import StageConfig
from components.contracts.errors import BadInput
from components.relevance.model.spec import TuningSpec

BEST_SINGLE, TFIDF = "best_single", "tfidf"  # rows of every comparison
EXPERTS_ALONE = "experts_alone"  # and this one, where the mixture is blended with the lexical expert
RESERVED = (BEST_SINGLE, TFIDF, EXPERTS_ALONE)
PAIR_TEMPLATE = "market: {market} query: {query}\nitem: {item}"


class WeightsConfig(StageConfig):
    """Where a language model's weights come from.

    Attributes:
        name: its name everywhere (file names, Triton's `expert_<name>`).
        source: `package:<name>` (weights that ship in a Python package), `tiny:<family>` (from scratch, for tests),
            a local Hugging Face folder, a local folder with a GGUF file, or a hub id.
        layer: number of transformer blocks kept, None for all.
        max_tokens: of longer inputs, query and item lose tokens of their middle, the longer one first.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    source: str
    layer: int | None = Field(default=None, ge=1)
    max_tokens: int = Field(default=128, ge=8, le=8192)


class ExpertConfig(WeightsConfig):
    """One expert of the mixture: a language model, and how a pair of texts becomes one vector.

    Attributes:
        tuning: low-rank adapters, tuned on the judgments (tuning.adapters says how); None keeps the model frozen.
        pooling: how token vectors become the pair's vector (model.expert says how).
        template: input text, with {market}, {query} and {item}.
        separator: for "segments" pooling, text of the template that is one token and begins the item's part; it must
            not appear before it. A special token of the tokenizer, or a line break where the tokenizer never joins
            one with its neighbours.
    """

    pooling: Literal["mean", "last", "segments"] = "mean"
    template: str = PAIR_TEMPLATE
    separator: str | None = None
    tuning: TuningSpec | None = None

    @model_validator(mode="after")
    def _template_names_its_fields(self) -> Self:
        query, item = self.template.find("{query}"), self.template.find("{item}")
        if min(query, item) < 0:
            raise ValueError(f"template of expert {self.name} lacks {{query}} or {{item}}")
        if self.pooling == "segments" and not (self.separator and query < self.template.find(self.separator) < item):
            raise ValueError(f"expert {self.name}: segments need a separator between {{query}} and {{item}}")
        return self


class TextConfig(WeightsConfig):
    """The language model that encodes single texts, by the mean of its token vectors, and what it is given.

    Attributes:
        query_template, item_template: input text, with {text}.
    """

    query_template: str = "{text}"
    item_template: str = "{text}"


# A middle layer serves frozen models best, and costs less: chosen by ridge regression on a sample of real judgments
# in ten languages.
GEMMA3_270M = ExpertConfig(
    name="gemma3-270m", source="package:gemma3-270m", layer=9, pooling="segments", separator="\n"
)
E5_SMALL = ExpertConfig(
    name="e5-small",
    source="package:e5-small",
    layer=9,
    pooling="segments",
    template="query: {query}</s></s>passage: {item}",
    separator="</s>",
)
MINILM_L6 = ExpertConfig(
    name="minilm-l6",
    source="package:minilm-l6",
    layer=3,
    pooling="segments",
    template="{query}[SEP]{item}",
    separator="[SEP]",
)
E5_TEXTS = TextConfig(
    name="e5-small-texts", source="package:e5-small", query_template="query: {text}", item_template="passage: {text}"
)


class VariantConfig(StageConfig):
    """One way of routing and fusing, compared with the others on the same folds.

    Attributes:
        name: its row in tables.
        router: how a query chooses experts (model.router says how).
        fusion: how their vectors become one input of the head (model.fusion says how).
        top_k: experts per query; None takes the stage's number. Soft routing always runs all.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_+=-]*$")
    router: Literal["end_to_end", "pseudo_label", "rule", "soft"] = "end_to_end"
    fusion: Literal["concat", "weighted_average", "gated_sum", "logit_average"] = "concat"
    top_k: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _soft_routing_weighs(self) -> Self:
        if self.router == "soft" and (self.fusion != "concat" or self.top_k is not None):
            raise ValueError(f"variant {self.name}: soft routing goes with concat, and with every expert")
        return self


MIXTURE = VariantConfig(name="mixture")
WEIGHTED_AVERAGE = VariantConfig(name="weighted_average", fusion="weighted_average")


class RelevanceConfig(StageConfig):
    """Experts, mixture and training. Defaults are the laptop profile's: three frozen pretrained experts on two cores.

    Attributes:
        experts: language models of the mixture, in the order of the fusion's slots.
        dense: one larger model as a baseline of the mixture's active parameters; encoded and evaluated, never served.
        lexical: whether mixtures are blended with a lexical expert (character TF-IDF; fitting.blend says how), so that
            none falls behind it where judgments are few. It costs a server's CPU about 10 microseconds a pair, and 60 a
            new text: much where a GPU answers thousands of queries per second.
        variants: mixtures that are compared, beside every expert alone; the first one is released.
        texts: language model that encodes single texts (title and query vectors).
        top_k: experts per query.
        grade_threshold: a judgment with at least this grade is a positive.
        router_width, ngram_buckets, max_ngrams: the router's embedding width, hash buckets and trigrams read.
        fusion_hidden: widths of the fusion head's two hidden layers.
        input_dropout, dropout: dropout of the fusion head's input, and between its layers.
        load_balance: weight of the router's load-balance loss; experts are of unequal worth, and a larger weight sends
            queries to the weak ones.
        temperature_start, temperature_end: temperature of the Gumbel softmax in the first and in the last epoch.
        epochs: passes over the training rows at most.
        max_steps: steps at most, over all epochs: what bounds a large set.
        patience: epochs without a better validation loss before training stops.
        learning_rate, router_learning_rate: peaks of the one-cycle schedule, of head and router.
        weight_decay: AdamW's decoupled decay of the head's matrices.
        batch_size: pairs per step.
        folds: out-of-fold predictions come from this many groups of queries.
        valid_fraction: share of the training queries kept for early stopping and choices.
        bootstrap: resamples of queries behind every interval.
        encode_tokens: padded tokens per batch while encoding in float32.
        precision: type of the matrix products while encoding. float32 gives what the server computes, to 1e-4. The
            others pack pairs without padding and are fast on a GPU; stored relevance then differs by thousandths from
            what the server computes.
        fit_processes: processes that share the rounds (folds and seeds) of a cross-validation, one core each; results
            are the same up to rounding, which depends on the number of threads. A single process fits on the GPU where
            there is one, whose random numbers differ from a CPU's.
        seed: seed of folds, initial weights and batches.
        seeds: cross-validations on the same folds, each with initial weights and batches of its own; figures are means.
    """

    experts: tuple[ExpertConfig, ...] = (GEMMA3_270M, E5_SMALL, MINILM_L6)
    dense: ExpertConfig | None = None
    texts: TextConfig = E5_TEXTS
    lexical: bool = True
    variants: tuple[VariantConfig, ...] = Field(default=(MIXTURE, WEIGHTED_AVERAGE), min_length=1)
    top_k: int = Field(default=2, ge=1)
    grade_threshold: float = Field(default=0.5, gt=0, le=1)
    router_width: int = Field(default=16, ge=1)
    ngram_buckets: int = Field(default=4096, ge=2)
    max_ngrams: int = Field(default=48, ge=1)
    fusion_hidden: tuple[int, int] = (128, 32)
    input_dropout: float = Field(default=0.2, ge=0, lt=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    load_balance: float = Field(default=0.001, ge=0)
    temperature_start: float = Field(default=1.0, gt=0)
    temperature_end: float = Field(default=0.3, gt=0)
    epochs: int = Field(default=30, ge=1)
    max_steps: int = Field(default=600, ge=1)
    patience: int = Field(default=5, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    router_learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=10.0, ge=0)
    batch_size: int = Field(default=256, ge=2)
    folds: int = Field(default=5, ge=2)
    valid_fraction: float = Field(default=0.15, gt=0, lt=1)
    bootstrap: int = Field(default=200, ge=20)
    encode_tokens: int = Field(default=1024, ge=64)
    precision: Literal["float32", "bfloat16", "float8"] = "float32"
    fit_processes: int = Field(default=1, ge=1)
    seed: int = 0
    seeds: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _experts_are_consistent(self) -> Self:
        names = [expert.name for expert in self.experts]
        if len(set(names)) != len(names):
            raise ValueError(f"expert names repeat: {', '.join(names)}")
        wanted = max(self.top_k, *(variant.top_k or 1 for variant in self.variants))
        if wanted > len(names):
            raise ValueError(f"top_k is {wanted}, with {len(names)} experts")
        return self

    def require_even_steps(self, processes: int) -> None:
        """Refuse processes among which a step's rows do not divide: each shall count alike.

        Raises:
            BadInput: the expert and its rows.
        """
        for expert in (*self.experts, *([self.dense] if self.dense else [])):
            if expert.tuning and expert.tuning.batch_rows % processes:
                raise BadInput(
                    f"expert {expert.name}: {expert.tuning.batch_rows} batch_rows do not divide among {processes} "
                    "processes (training.processes)"
                )

    @model_validator(mode="after")
    def _rows_have_names_of_their_own(self) -> Self:
        rows = [*(variant.name for variant in self.variants), *(expert.name for expert in self.experts), *RESERVED]
        rows += [self.dense.name] if self.dense else []
        repeated = sorted({name for name in rows if rows.count(name) > 1})
        if repeated:
            raise ValueError(f"variants, experts and baselines share names: {', '.join(repeated)}")
        if self.variants[0].name != MIXTURE.name or self.variants[0].fusion != "concat":
            raise ValueError("the first variant is the released one: it is called mixture and its fusion is concat")
        return self
