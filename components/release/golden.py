"""Golden answers: requests of every market with the answers computed offline, which serving must give as well.

Search requests walk every path of the server: relevance stored, computed on the spot, both in one request, a query
never seen before, a user never seen before.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.contracts.blend import Blend
from components.contracts.errors import BadInput
from components.contracts.features import assemble
from components.contracts.tables import write_table
from components.contracts.text import normalise_query, normalise_title
from components.contracts.tools.log import get_logger
from components.features.join import join_rows
from components.ranking.model.serving import load_ranker
from components.release.config import ReleaseConfig
from components.release.inputs import RankingInputs, RelevanceInputs
from components.relevance.scoring.reference import ReferenceScorer

_logger = get_logger(__name__)

SEARCH, RELEVANCE = "search.parquet", "relevance.parquet"
KINDS = ("stored", "computed", "mixed", "unknown_user", "unseen_query", "stored")
UNKNOWN_USER = "user-never-seen-before"


def write_relevance_golden(encodings: Path, scorer: ReferenceScorer, config: ReleaseConfig, out: Path) -> None:
    """Write `relevance.parquet`: market, query, title, relevance, experts of pairs from every market."""
    pairs = pq.read_table(encodings / "pairs.parquet", columns=["market", "query", "item_id", "title"]).to_pandas()
    chosen = _by_hash(pairs, ["market", "query", "item_id"], config.seed)
    chosen = (
        chosen[chosen["market"].isin(scorer.mixture.spec.markets)]
        .groupby("market", sort=True)
        .head(config.golden_pairs)
    )
    texts = [chosen[name].tolist() for name in ("market", "query", "title")]
    relevance, experts = scorer.score(*texts)
    columns = dict(zip(("market", "query", "title"), texts, strict=True))
    write_table(pa.table({**columns, "relevance": relevance, "experts": experts.tolist()}), out / RELEVANCE)


def write_search_golden(
    relevance_half: RelevanceInputs,
    ranking_half: RankingInputs,
    scorer: ReferenceScorer,
    config: ReleaseConfig,
    as_of: datetime,
    out: Path,
) -> None:
    """Write `search.parquet`: one row per candidate of every golden request, in request order, with its offline answer.

    Columns: request, kind, market, user_id, query, item_id, timestamp (`as_of`, the request's time), and score,
    relevance, p_click, p_purchase, relevance_source, user_known.
    """
    markets = scorer.mixture.spec.markets
    rows = choose_requests(relevance_half.log, relevance_half.scores, markets, config)
    rows = rows.assign(timestamp=pd.Timestamp(as_of))
    joined = join_rows(ranking_half.features, rows.assign(domain="search"), markets)
    relevance = joined["relevance"].to_numpy(np.float32).copy()
    missing = np.flatnonzero(np.isnan(relevance))
    if len(missing):
        asked = rows.iloc[missing]
        relevance[missing], _ = scorer.score(*(asked[name].tolist() for name in ("market", "query", "title")))
    tensors = assemble({name: joined[name].to_numpy() for name in joined.columns} | {"relevance": relevance})
    ranker = load_ranker(ranking_half.ranker)
    with torch.inference_mode():
        arrays = (tensors.numeric, tensors.categorical, tensors.sequences)
        p_click, p_purchase = (p.numpy() for p in ranker(*map(torch.from_numpy, arrays)))
    answers = {
        "score": Blend.load(ranking_half.ranker / "blend.json").score(relevance, p_click, p_purchase),
        "relevance": relevance,
        "p_click": p_click,
        "p_purchase": p_purchase,
        "relevance_source": np.where(np.isin(np.arange(len(rows)), missing), "computed", "stored"),
        "user_known": joined["user_known"].to_numpy(bool),
    }
    asked = rows[["request", "kind", "market", "user_id", "query", "item_id", "timestamp"]]
    write_table(pa.Table.from_pandas(asked.assign(**answers), preserve_index=False), out / SEARCH)


def choose_requests(log: Path, scores: Path, markets: Sequence[str], config: ReleaseConfig) -> pd.DataFrame:
    """Requests of every market, of each kind in turn; one row per candidate, with its title.

    Raises:
        BadInput: no market has items, users and stored pairs; one that lacks some is left out with a warning.
    """
    items = pq.read_table(log / "items.parquet", columns=["item_id", "market", "title"]).to_pandas()
    # Users who did something: of others no feature knows.
    users = pq.read_table(log / "requests.parquet", columns=["user_id", "market"]).to_pandas().drop_duplicates()
    stored = pq.read_table(scores / "scores.parquet", columns=["market", "query", "item_id"]).to_pandas()
    stored = stored[stored["item_id"].isin(items["item_id"])]
    queries = pq.read_table(log / "requests.parquet", columns=["market", "query"]).to_pandas().dropna()
    raw = _raw_queries(queries)
    requests: list[pd.DataFrame] = []
    for market in markets:
        local = {
            "items": _by_hash(items[items["market"] == market], ["item_id"], config.seed),
            "users": _by_hash(users[users["market"] == market], ["user_id"], config.seed)["user_id"].tolist(),
            "stored": stored[stored["market"] == market],
        }
        if any(len(part) == 0 for part in local.values()):
            empty = ", ".join(name for name, part in local.items() if len(part) == 0)
            _logger.warning("market %s has no %s: no golden requests of it", market, empty)
            continue
        known = _by_hash(local["stored"][["query"]].drop_duplicates(), ["query"], config.seed)["query"].tolist()
        for number in range(config.golden_requests):
            kind = KINDS[number % len(KINDS)]
            query = known[number % len(known)]
            item_ids = _candidates(kind, query, local["stored"], local["items"]["item_id"], config.golden_items)
            shown = raw.get((market, query), query)
            if kind == "unseen_query":
                shown = _unseen(query, local["items"]["title"].iloc[number % len(local["items"])], set(known))
            user = UNKNOWN_USER if kind == "unknown_user" else local["users"][number % len(local["users"])]
            about = {"request": len(requests), "kind": kind, "market": market, "user_id": user, "query": shown}
            requests.append(pd.DataFrame({**about, "item_id": item_ids}))
    if not requests:
        raise BadInput(f"{log}: no market has items, users and stored pairs to make golden requests of")
    rows = pd.concat(requests, ignore_index=True)
    return rows.merge(items[["item_id", "title"]], on="item_id", how="left", validate="many_to_one")


def _candidates(kind: str, query: str, stored: pd.DataFrame, item_ids: pd.Series, most: int) -> list[str]:
    """Items of a request: with a stored relevance, without, or half of each."""
    scored = stored.loc[stored["query"] == query, "item_id"]
    unscored = item_ids[~item_ids.isin(scored)]
    with_score = {"computed": 0, "unseen_query": 0, "mixed": most // 2}.get(kind, most)
    without_score = {"computed": most, "unseen_query": most, "mixed": most - most // 2}.get(kind, 0)
    chosen = [*scored.head(with_score), *unscored.head(without_score)]
    return chosen or list(scored.head(most))


def _raw_queries(queries: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(market, normalised query) -> a text as some user typed it, by preference not the normalised one."""
    typed = queries.drop_duplicates()
    keys = zip(typed["market"], map(normalise_query, typed["query"]), strict=True)
    found: dict[tuple[str, str], str] = {}
    for key, text in zip(keys, typed["query"], strict=True):
        if key not in found or found[key] == key[1]:
            found[key] = text
    return found


def _unseen(query: str, title: str, known: set[str]) -> str:
    """A plausible query that is not among the known ones."""
    text = f"{query[:200]} {normalise_title(title)[:24]}"
    while normalise_query(text) in known:
        text += " 2"
    return text


def _by_hash(table: pd.DataFrame, keys: list[str], seed: int) -> pd.DataFrame:
    """The rows in an order that looks random and depends on their keys and the seed alone."""
    texts = table[keys].astype(str).agg("\0".join, axis=1)
    order = [hashlib.md5(f"{seed}\0{text}".encode(), usedforsecurity=False).hexdigest() for text in texts]
    return table.iloc[np.argsort(np.array(order), kind="stable")]
