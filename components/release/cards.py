"""MODEL_CARD.md and DATA_CARD.md of a release, written from manifests: no figure that no stage measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import CardData, DatasetCardData, ModelCardData

from components.ranking.config import RANKING_METRICS
from components.relevance.model.spec import ExpertSpec


def model_card(
    log: Mapping[str, Any],
    relevance: Mapping[str, Any],
    ranker: Mapping[str, Any] | None,
    experts: Sequence[ExpertSpec],
    parity: Sequence[Mapping[str, Any]],
    limits: Mapping[str, Any],
) -> str:
    """Markdown from the manifests of the log, the relevance model and the ranker (None: relevance-only release)."""
    what = "relevance of items to queries, and the ranking of a page" if ranker else "relevance of items to queries"
    about = ModelCardData(
        license="other",
        license_name="of each expert's weights",
        license_link="licenses",
        metrics=["roc_auc"],
        tags=["e-commerce", "search", "relevance", *(["ranking"] if ranker else []), *_origin(log)],
    )
    parts = [
        _front_matter(about),
        "# Model card",
        f"Scores the {what} in the markets {', '.join(log['markets'])}. Trained on {_world(log)} up to {log['as_of']}.",
        "## Relevance: a mixture of language models",
        "A router picks the experts of a query, their vectors are concatenated, a small head gives a probability. "
        f"AUC on judgments, out of fold where the stage says so ({_world(log)}):",
        _relevance_table(relevance["metrics"]["relevance"], log["markets"]),
        "Experts, frozen unless their source says that they were tuned; their licence texts are in `licenses/` and "
        "bind whoever uses this release:",
        _table(
            ["expert", "family", "source", "blocks", "active parameters", "width", "licence", "digest"],
            [
                [e.name, e.family, e.source, e.layer, f"{e.parameters:,}", e.dim, e.licence, e.digest[:12]]
                for e in experts
            ],
        ),
    ]
    if ranker:
        rows = [[name, *(metrics.get(m) for m in RANKING_METRICS)] for name, metrics in _variants(ranker)]
        parts += [
            "## Ranking",
            f"Native search exposures of the test days ({_world(log)}); the last blend of relevance and ranking is a "
            "logistic function fitted on the validation days:",
            _table(["variant", *RANKING_METRICS], rows),
        ]
    parts += [
        "## As exported",
        "Largest error of each ONNX model against PyTorch, relative to max(1, largest output):",
        _table(
            ["model", "cases", "largest error", "tolerance"],
            [[p["model"], p["cases"], f"{p['max_error']:.1e}", f"{p['tolerance']:.0e}"] for p in parity],
        ),
        "## At request time",
        _table(["limit", "value"], [[name, value] for name, value in limits.items()]),
        "## Limits",
        "A user, item or query without history gets cold-start features. Scores order the candidates of one request; "
        "they are not comparable between markets. "
        + (
            "Behaviour was simulated, so ranking figures say that the system works, not how well it would sell."
            if log["simulated"]
            else "Figures hold for the logged period and its logging policy."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def data_card(log: Mapping[str, Any], samples: Mapping[str, Any] | None, inputs: Mapping[str, str]) -> str:
    """Markdown from the log's manifest, the samples' volumes (None: relevance-only) and the inputs' digests."""
    counts = log.get("metrics", {}).get("rows", {})
    parts = [
        _front_matter(DatasetCardData(tags=["e-commerce", "search", *_origin(log)])),
        "# Data card",
        f"Source: {_world(log)}. Markets: {', '.join(log['markets'])}. Data up to {log['as_of']}.",
        _table(["table", "rows"], [[name, f"{rows:,}"] for name, rows in counts.items()]),
    ]
    if samples:
        parts += [
            "## Training samples",
            "Entire-space samples: exposed and unexposed candidates, and behaviour of other domains turned into search "
            "samples. Only training rows carry entire-space labels; validation and test keep native ones.",
            _records(samples.get("by_split", [])),
        ]
    parts += ["## Inputs", _table(["input", "digest"], [[name, digest] for name, digest in inputs.items()])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(about: CardData) -> str:
    """What model and dataset hubs read of a card."""
    return f"---\n{about.to_yaml()}\n---"


def _origin(log: Mapping[str, Any]) -> list[str]:
    return ["simulated"] if log["simulated"] else []


def _world(log: Mapping[str, Any]) -> str:
    return "simulated data" if log["simulated"] else "logged data"


def _variants(ranker: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(ranker["metrics"]["ranking"].items())


def _relevance_table(variants: Mapping[str, Mapping[str, Any]], markets: Sequence[str]) -> str:
    columns = [*markets, "macro", "pooled"]
    return _table(["variant", *columns], [[name, *(aucs.get(c) for c in columns)] for name, aucs in variants.items()])


def _records(records: Sequence[Mapping[str, Any]]) -> str:
    return _table(list(records[0]), [list(record.values()) for record in records]) if records else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
