"""The volume report's figures: what each ES3 step adds, what became of every event, and how much labels leak."""

from collections.abc import Mapping
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.engine import Engine
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


def measure(engine: Engine, made: EntireSpace, inputs: Inputs, config: SamplesConfig) -> dict[str, Any]:
    """All figures as JSON values: steps, rows by split and domain, fates, tiers, query sources and leaks.

    `wanted` counts candidates that are no negatives, since their user wanted them soon after (wanted.py); `immature`
    search requests whose labels are not complete, by the split they would have been of.
    """
    samples = made.samples
    train = samples.filter(samples.split == "train")
    pseudo = train.filter(train.label_source == "searchified")
    return {
        "simulated": inputs.simulated,
        "steps": steps(train),
        "paper": PAPER,
        "by_split": _grouped(samples, ["split", "domain", "label_source"]),
        "events": {kind: _counts(made.fates.filter(made.fates.type == kind).fate) for kind in KINDS},
        "tiers": {kind: _tiers(made.credited, kind) for kind in KINDS},
        "misses": {kind: _counts(made.misses.filter(made.misses.type == kind).reason) for kind in KINDS},
        "wanted": _counts(made.wanted.mechanism),
        "immature": _counts(made.immature.split),
        "departures": config.departures,
        "coverage": coverage_shares(made.coverage.order_by("market").to_pyarrow()),
        "query_sources": _counts(pseudo.query_source),
        "leak": leak(engine, train, inputs),
    }


KINDS = ("click", "purchase")


def steps(train: ibis.Table) -> dict[str, dict[str, float]]:
    """Rows, requests and positives of the training window after each step, and their ratios to exposed-only."""
    search = train.domain == "search"
    native, entire = ("native_click", "native_purchase"), ("click", "purchase")
    stages = {
        "exposed only": _volume(train.filter(train.exposed == 1), *native),
        # An unexposed positive is there by attribution alone.
        "+ unexposed": _volume(train.filter(search & ((train.exposed == 1) | (train.click == 0))), *native),
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


def counted(counts: Mapping[str, int]) -> str:
    """Counts by name in one line."""
    return ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "none"


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


def _volume(rows: ibis.Table, click: str, purchase: str) -> dict[str, float]:
    return _record(
        rows.aggregate(
            rows=rows.count(),
            requests=rows.request_id.nunique(),
            clicks=rows[click].cast("int64").sum().fill_null(0),
            purchases=rows[purchase].cast("int64").sum().fill_null(0),
        )
    )


def _record(row: ibis.Table) -> dict[str, Any]:
    """The one row of an aggregate."""
    return dict(row.to_pyarrow().to_pylist()[0])


def _counts(values: ibis.Column) -> dict[str, int]:
    name = values.get_name()
    counted = values.as_table().group_by(name).aggregate(n=ibis._.count()).to_pyarrow()
    return dict(sorted(zip(counted[name].to_pylist(), counted["n"].to_pylist(), strict=True)))


def _tiers(credited: ibis.Table, kind: str) -> dict[str, int]:
    return _counts(credited.filter(credited.type == kind, credited.period == "train").tier)


def _grouped(samples: ibis.Table, keys: list[str]) -> list[dict[str, Any]]:
    groups = samples.group_by(keys).aggregate(
        **{
            "rows": samples.count(),
            "requests": samples.request_id.nunique(),
            "native clicks": samples.native_click.cast("int64").sum(),
            "clicks": samples.click.cast("int64").sum(),
            "purchases": samples.purchase.cast("int64").sum(),
        }
    )
    return list(groups.order_by(keys).to_pyarrow().to_pylist())


def leak(engine: Engine, train: ibis.Table, inputs: Inputs) -> dict[str, dict[str, float | None]]:
    """How well one signal alone tells label 1 from 0, as AUC, in training rows of three kinds.

    Natively exposed rows are the measure of what is honest; a higher value on pseudo rows is what query synthesis gave
    away. Signals: `relevance` where the pair has a stored score, whether it has one at all, and the cosine of the
    query's and the title's vector, which every pair has.
    """
    scored = train.left_join(inputs.scores, ["market", "query", "item_id"]).select(
        "market", "query", "item_id", "domain", "exposed", "native_click", "click", "relevance"
    )
    parts = [_signals(part, inputs) for part in engine.batches("signals", scored)]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    groups = {
        "native exposed": (rows["exposed"], rows["native_click"]),
        "search, entire-space labels": (rows["search"], rows["click"]),
        "pseudo": (~rows["search"], rows["click"]),
    }
    return {
        name: _leak_of(rows["relevance"][chosen], rows["cosine"][chosen], positive[chosen])
        for name, (chosen, positive) in groups.items()
    }


def _signals(part: pa.Table, inputs: Inputs) -> dict[str, np.ndarray]:
    """What `leak` asks of some rows, in few bytes each: they are all of the training window in the end."""
    return {
        "relevance": pc.fill_null(part["relevance"], np.nan).to_numpy().astype(np.float32),
        "cosine": cosines(inputs.queries, query_keys(part["market"], part["query"]), inputs.titles, part["item_id"]),
        "search": pc.equal(part["domain"], "search").to_numpy(),
        **{name: part[name].to_numpy() == 1 for name in ("exposed", "native_click", "click")},
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
