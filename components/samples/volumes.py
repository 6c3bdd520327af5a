"""The volume report's figures: what each ES3 step adds, what became of every event, and how much labels leak."""

from collections.abc import Mapping
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.tools.resampling import auc
from components.samples.config import SamplesConfig
from components.samples.entire_space import EntireSpace
from components.samples.inputs import Inputs
from components.samples.vectors import cosines, query_keys

# Relative to exposed-only, as reported for the paper (arXiv 2603.24226): rows, click positives, requests.
PAPER: dict[str, dict[str, float]] = {
    "exposed only": {"rows": 1.0, "clicks": 1.0, "requests": 1.0},
    "+ unexposed": {"rows": 3.0, "clicks": 1.0, "requests": 1.0},
    "+ attribution": {"rows": 3.0, "clicks": 2.0, "requests": 1.0},
    "+ searchification": {"rows": 5.0, "clicks": 4.0, "requests": 2.0},
}


def measure(made: EntireSpace, inputs: Inputs, config: SamplesConfig) -> dict[str, Any]:
    """All figures as JSON values: steps, rows by split and domain, fates, tiers, query sources and leaks."""
    samples = made.samples
    train = samples.filter(pc.equal(samples["split"], "train"))
    pseudo = train.filter(pc.equal(train["label_source"], "searchified"))
    return {
        "simulated": inputs.simulated,
        "steps": steps(train),
        "paper": PAPER,
        "by_split": _grouped(samples, ["split", "domain", "label_source"]),
        "events": {kind: _counts(made.fates.filter(pc.equal(made.fates["type"], kind))["fate"]) for kind in KINDS},
        "tiers": {kind: _tiers(made.credited, kind) for kind in KINDS},
        "misses": {kind: _counts(made.misses.filter(pc.equal(made.misses["type"], kind))["reason"]) for kind in KINDS},
        "departures": config.departures,
        "coverage": coverage_shares(made.coverage),
        "query_sources": _counts(pseudo["query_source"]),
        "leak": leak(train, inputs),
    }


KINDS = ("click", "purchase")


def steps(train: pa.Table) -> dict[str, dict[str, float]]:
    """Rows, requests and positives of the training window after each step, and their ratios to exposed-only."""
    search = pc.equal(train["domain"], "search")
    exposed = pc.equal(train["exposed"], 1)
    # An unexposed positive is there by attribution alone.
    drawn = pc.and_(search, pc.or_(exposed, pc.equal(train["click"], 0)))
    native, entire = ("native_click", "native_purchase"), ("click", "purchase")
    stages = {
        "exposed only": _volume(train.filter(exposed), *native),
        "+ unexposed": _volume(train.filter(drawn), *native),
        "+ attribution": _volume(train.filter(search), *entire),
        "+ searchification": _volume(train, *entire),
    }
    base = stages["exposed only"]
    return {
        name: {**volume, **{f"{key}_ratio": round(volume[key] / base[key], 3) if base[key] else 0.0 for key in base}}
        for name, volume in stages.items()
    }


def coverage_shares(by_market: pa.Table) -> dict[str, dict[str, float | None]]:
    """Coverage by market and of all together, as shares of what is expected.

    `share` holds against the truth, where there is one, `estimated_share` against the estimate. `chance` is the
    mean true chance of a click of all unexposed rows, `chance_of_recovered` that of the recovered ones.
    """
    counts = by_market.to_pylist()
    whole = {
        name: sum(row[name] for row in counts) if all(row[name] is not None for row in counts) else None
        for name in by_market.column_names
        if name != "market"
    }
    return {row["market"]: _coverage_of(row) for row in counts} | {"all": _coverage_of(whole)}


def coverage_line(coverage: Mapping[str, Mapping[str, float | None]]) -> str:
    """Coverage by market in one line, against the truth where there is one, else against the estimate."""
    kind = "share" if any(row["share"] is not None for row in coverage.values()) else "estimated_share"
    shares = (f"{name} {'none' if row[kind] is None else format(row[kind], '.1%')}" for name, row in coverage.items())
    return f"{', '.join(shares)} ({'of the truth, simulated' if kind == 'share' else 'of an estimate'})"


def _coverage_of(counts: Mapping[str, Any]) -> dict[str, float | None]:
    unexposed, recovered, expected = counts["unexposed"], counts["recovered"], counts["expected"]
    return {
        "unexposed": unexposed,
        "recovered": recovered,
        "expected": None if expected is None else round(expected, 1),
        "estimated": round(counts["estimated"] or 0.0, 1),
        "share": _ratio(recovered, expected),
        "estimated_share": _ratio(recovered, counts["estimated"]),
        "chance": _ratio(expected, unexposed),
        "chance_of_recovered": _ratio(counts["recovered_chance"], recovered),
    }


def _ratio(part: float | None, whole: float | None) -> float | None:
    return round(part / whole, 4) if part is not None and whole else None


def _volume(rows: pa.Table, click: str, purchase: str) -> dict[str, float]:
    return {
        "rows": rows.num_rows,
        "requests": pc.count_distinct(rows["request_id"]).as_py(),
        "clicks": pc.sum(rows[click]).as_py() or 0,
        "purchases": pc.sum(rows[purchase]).as_py() or 0,
    }


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    counted = {pair["values"]: pair["counts"] for pair in pc.value_counts(values).to_pylist()}
    return dict(sorted(counted.items()))


def _tiers(credited: pa.Table, kind: str) -> dict[str, int]:
    inside = pc.and_(pc.equal(credited["type"], kind), pc.equal(credited["period"], "train"))
    return _counts(credited.filter(inside)["tier"])


def _grouped(samples: pa.Table, keys: list[str]) -> list[dict[str, Any]]:
    figures = {
        "rows": ([], "count_all"),
        "requests": ("request_id", "count_distinct"),
        "native clicks": ("native_click", "sum"),
        "clicks": ("click", "sum"),
        "purchases": ("purchase", "sum"),
    }
    groups = samples.group_by(keys).aggregate(list(figures.values())).rename_columns([*keys, *figures])
    return list(groups.sort_by([(key, "ascending") for key in keys]).to_pylist())


def leak(train: pa.Table, inputs: Inputs) -> dict[str, dict[str, float | None]]:
    """How well one signal alone tells label 1 from 0, as AUC, in training rows of three kinds.

    Natively exposed rows are the measure of what is honest; a higher value on pseudo rows is what query synthesis gave
    away. Signals: `relevance` where the pair has a stored score, whether it has one at all, and the cosine of the
    query's and the title's vector, which every pair has.
    """
    pairs = train.select(["market", "query", "item_id"])
    scores = inputs.scores.select("market", "query", "item_id", "relevance")
    numbered = ibis.memtable(pairs.append_column("row", pa.array(np.arange(train.num_rows))))
    known = numbered.inner_join(scores, ["market", "query", "item_id"]).select("row", "relevance").to_pyarrow()
    relevance = np.full(train.num_rows, np.nan)
    relevance[known["row"].to_numpy()] = known["relevance"].to_numpy()
    cosine = cosines(inputs.queries, query_keys(train["market"], train["query"]), inputs.titles, train["item_id"])

    exposed = train["exposed"].to_numpy() == 1
    search = pc.equal(train["domain"], "search").to_numpy()
    groups = {
        "native exposed": (exposed, train["native_click"].to_numpy() == 1),
        "search, entire-space labels": (search, train["click"].to_numpy() == 1),
        "pseudo": (~search, train["click"].to_numpy() == 1),
    }
    return {
        name: _leak_of(relevance[chosen], cosine[chosen], positive[chosen])
        for name, (chosen, positive) in groups.items()
    }


def _leak_of(relevance: np.ndarray, cosine: np.ndarray, positive: np.ndarray) -> dict[str, float | None]:
    known = np.isfinite(relevance)
    comparable = np.isfinite(cosine)
    return {
        "relevance_auc": _auc(positive[known], relevance[known]),
        "scored_auc": _auc(positive, known.astype(np.float64)),
        "cosine_auc": _auc(positive[comparable], cosine[comparable]),
        "scored_share_of_positives": _share(known[positive]),
        "scored_share_of_negatives": _share(known[~positive]),
    }


def _share(flags: np.ndarray) -> float | None:
    return round(float(flags.mean()), 4) if len(flags) else None


def _auc(positive: np.ndarray, signal: np.ndarray) -> float | None:
    value = auc(positive.astype(np.float64), signal)
    return None if value is None else round(value, 4)
