"""What the figures of a run may and may not be taken to say, read off their intervals and nothing else."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from components.contracts.tools.cells import Estimate
from components.relevance.config import MIXTURE

RELEASED = MIXTURE.name  # the relevance variant that the others are compared with
COMPARED_BY = ("auc", "gauc")  # of the ranking metrics


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """A sentence per comparison, one on how the released relevance is blended, one on what the intervals cover, and one
    on what the data can say."""
    sentences = []
    if gains := relevance_gains(summary):
        said = _sides(gains, lambda names, word: f"the {RELEASED} is {word} than {listed(names)}")
        sentences.append(f"Relevance, pooled AUC: {said}.")
    for metric in COMPARED_BY if summary["ranking"] else ():
        said = _sides(ranking_gains(summary, metric), partial(_against, summary["baseline"]))
        sentences.append(f"Ranking, {metric.upper()}: {said}.")
    if summary["ranking"] and summary["leak"]["reasons"]:
        sentences.append(f"No ranker learned from ES3 rows: {'; '.join(summary['leak']['reasons'])}.")
    if (share := summary["lexical_share"]) is not None:
        sentences.append(
            f"The lexical expert has {share:.0%} of the {RELEASED}'s say: so weighed it best fits judgments that its "
            "parts have not seen; where these are few, the say stays near a quarter."
        )
    fits = "Intervals cover which queries or requests were drawn, at 95 %; a second fit may give other figures."
    return [*sentences, fits, _reach(summary)]


def relevance_gains(summary: Mapping[str, Any]) -> dict[str, Estimate]:
    """Other variant -> what the released one gains over it in pooled AUC, on the same resampled queries."""
    return {
        variant: Estimate.of(row["pooled"]["mixture_minus"], row["pooled"]["interval"])
        for variant, row in summary["deltas"].items()
        if "pooled" in row
    }


def ranking_gains(summary: Mapping[str, Any], metric: str) -> dict[str, Estimate]:
    """Variant -> what it gains over the baseline, on the same resampled requests."""
    return {
        variant: Estimate(*row["difference"][metric])
        for variant, row in summary["ranking"].items()
        if variant != summary["baseline"]
    }


def _sides(gains: Mapping[str, Estimate], state: Callable[[list[str], str], str]) -> str:
    """Which gains lie above 0, below it, or on both sides; `state` says of names that they are better or worse."""
    undecided = [name for name, gain in gains.items() if gain.holds_zero]
    above = [name for name, gain in gains.items() if not gain.holds_zero and (gain.low or 0) > 0]
    below = [name for name in gains if name not in (*undecided, *above)]
    parts = [state(names, word) for names, word in ((above, "better"), (below, "worse")) if names]
    if undecided:
        parts.append(f"for {listed(undecided)} the interval holds 0, so this run does not show which is better")
    return "; ".join(parts) or "there is nothing to compare with"


def _against(baseline: str, names: list[str], word: str) -> str:
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'} {word} than {baseline}"


def _reach(summary: Mapping[str, Any]) -> str:
    if summary["simulated"]:
        return "The data are simulated: the figures say something about this code and nothing about real traffic."
    if summary["ranking"]:
        return "Measured on logged pages: what shoppers would do with the pages in another order is not shown."
    return "Measured on the judgments alone: what shoppers click and buy is not looked at."


def listed(names: list[str]) -> str:
    """Names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
