"""What the gate's step says in Markdown: its verdict, and what the run's figures show."""

from pathlib import Path

from components.contracts.tools.manifest import read_json, read_manifest
from components.release.conclusions import conclusions
from components.release.gate import VERDICT
from components.release.gate_page import NOT_HELD


def describe(verdict: Path, relevance_model: Path, ranker: Path | None) -> str:
    """Markdown of a verdict, the checks that did not hold, and a sentence for every comparison of the models."""
    relevance = read_manifest(relevance_model)
    ranking = read_manifest(ranker)["metrics"] if ranker else {"ranking": None, "baseline": None, "leak": None}
    figures = {
        "simulated": relevance["simulated"],
        "deltas": relevance["metrics"]["deltas"],
        "lexical_share": relevance["metrics"]["lexical_share"],
        "ranking": ranking["ranking"],
        "baseline": ranking["baseline"],
        "leak": ranking["leak"],
    }
    content = read_json(verdict / VERDICT)
    reasons = {
        title: [str(check["why"]) for check in content["checks"] if check["verdict"] == verdict]
        for verdict, title in NOT_HELD.items()
    }
    title = "Gate passed" if content["passed"] else "Gate refused the release"
    parts = [f"# {title}", content["decision"]]
    for heading, sentences in reasons.items():
        parts += _listed(heading, sentences)
    return "\n\n".join([*parts, *_listed("What this run shows, and what it does not", conclusions(figures))]) + "\n"


def card_text(release: Path) -> str:
    """A release's model card without the facts before it that model hubs read, and a page would show as they are."""
    return (release / "MODEL_CARD.md").read_text(encoding="utf-8").partition("\n---\n")[2].lstrip()


def _listed(title: str, sentences: list[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []
