"""Similarity by text vectors, computed apart in numpy: its results are tables that the relational part joins.

Exact search stands where a larger catalogue would ask an approximate index; inputs and outputs would stay the same.
Shape suffixes: N pairs or needs, I items, Q queries, D vector width.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import BadInput

_BLOCK = 65_536
_ITEM_BLOCK = 512


@dataclass(frozen=True)
class Vectors:
    """Unit vectors by key, in key order: keys string [K], matrix float32 [K, D]."""

    keys: pa.Array
    matrix: np.ndarray

    @classmethod
    def of(cls, keys: pa.ChunkedArray, vectors: pa.ChunkedArray, where: str) -> "Vectors":
        """Sort by key and scale to unit length; BadInput unless all have one width and none is null or NaN."""
        widths = pc.unique(pc.list_value_length(vectors)).to_pylist()
        if len(widths) != 1 or not widths[0]:
            raise BadInput(f"{where}: column vector: widths {widths} in {len(keys)} rows, expected one width")
        order = pc.sort_indices(keys)
        flat = vectors.take(order).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        matrix = flat.astype(np.float32).reshape(len(keys), widths[0])
        bad = int((~np.isfinite(matrix)).any(axis=1).sum())
        if bad:
            raise BadInput(f"{where}: column vector: NaN or infinite in {bad} of {len(keys)} rows")
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        return cls(keys.take(order).combine_chunks(), matrix / np.maximum(norms, 1e-12))

    def rows(self, keys: pa.ChunkedArray) -> np.ndarray:
        """Row of each key, int64, -1 where there is none."""
        found = pc.fill_null(pc.index_in(keys, value_set=self.keys), -1)
        return np.asarray(found.to_numpy(), dtype=np.int64)


def query_keys(market: pa.ChunkedArray, query: pa.ChunkedArray) -> pa.ChunkedArray:
    """Keys of normalised queries, as contracts.text.query_key writes them."""
    return pc.binary_join_element_wise(market, query, ":")


def cosines(left: Vectors, left_keys: pa.ChunkedArray, right: Vectors, right_keys: pa.ChunkedArray) -> np.ndarray:
    """Cosine of each pair of keys, float32 [N], NaN where a vector is missing."""
    left_N, right_N = left.rows(left_keys), right.rows(right_keys)
    cosine_N = np.full(len(left_N), np.nan, dtype=np.float32)
    known = np.flatnonzero((left_N >= 0) & (right_N >= 0))
    for start in range(0, len(known), _BLOCK):
        at = known[start : start + _BLOCK]
        cosine_N[at] = np.einsum("nd,nd->n", left.matrix[left_N[at]], right.matrix[right_N[at]])
    return cosine_N


def title_cosines(pairs: pa.Table, titles: Vectors) -> pa.Table:
    """`pairs` (clicked, item_id) with the `cosine` of their titles; pairs without vectors are left out."""
    cosine_N = cosines(titles, pairs["clicked"], titles, pairs["item_id"])
    return pairs.append_column("cosine", pa.array(cosine_N)).filter(pa.array(np.isfinite(cosine_N)))


def nearest_past_queries(needs: pa.Table, searched: pa.Table, titles: Vectors, queries: Vectors) -> pa.Table:
    """For each need the query nearest to its item's title, among those its market had searched strictly before.

    Args:
        needs: need_id, item_id, market, timestamp.
        searched: market, query, first_seen: when each query was first searched.
        titles: vectors by item_id.
        queries: vectors by `query_keys`.

    Returns:
        need_id, query, one row per need that has such a query (its item has a vector, some query came before).
    """
    markets = sorted(pc.unique(searched["market"]).to_pylist())
    found = [
        _nearest_in_market(
            needs.filter(pc.equal(needs["market"], market)),
            searched.filter(pc.equal(searched["market"], market)),
            titles,
            queries,
        )
        for market in markets
    ]
    empty = pa.table({"need_id": pa.array([], pa.string()), "query": pa.array([], pa.string())})
    return pa.concat_tables([empty, *found])


def _nearest_in_market(needs: pa.Table, searched: pa.Table, titles: Vectors, queries: Vectors) -> pa.Table:
    searched = searched.append_column("row", pa.array(queries.rows(query_keys(searched["market"], searched["query"]))))
    searched = searched.filter(pc.greater_equal(searched["row"], 0))
    searched = searched.sort_by([("first_seen", "ascending"), ("query", "ascending")])
    query_DQ = queries.matrix[searched["row"].to_numpy()].T

    item_row_N = titles.rows(needs["item_id"])
    # How many of the queries, oldest first, each need may choose from.
    n_past_N = np.searchsorted(_microseconds(searched["first_seen"]), _microseconds(needs["timestamp"]), side="left")
    answerable = np.flatnonzero((item_row_N >= 0) & (n_past_N > 0))
    item_I, place_N = np.unique(item_row_N[answerable], return_inverse=True)
    best_N = np.zeros(len(answerable), dtype=np.int64)
    for start in range(0, len(item_I), _ITEM_BLOCK):
        best_IQ = _prefix_argmax(titles.matrix[item_I[start : start + _ITEM_BLOCK]] @ query_DQ)
        here = np.flatnonzero((place_N >= start) & (place_N < start + _ITEM_BLOCK))
        best_N[here] = best_IQ[place_N[here] - start, n_past_N[answerable[here]] - 1]
    return pa.table(
        {
            "need_id": needs["need_id"].take(pa.array(answerable)),
            "query": searched["query"].take(pa.array(best_N)),
        }
    )


def _prefix_argmax(values_IQ: np.ndarray) -> np.ndarray:
    """Where each row's largest value so far stands (the first of equals), int64 [I, Q]."""
    so_far_IQ = np.maximum.accumulate(values_IQ, axis=1)
    is_new_IQ = np.ones(values_IQ.shape, dtype=bool)
    is_new_IQ[:, 1:] = values_IQ[:, 1:] > so_far_IQ[:, :-1]
    place_IQ = np.where(is_new_IQ, np.arange(values_IQ.shape[1]), 0)
    return np.asarray(np.maximum.accumulate(place_IQ, axis=1))


def _microseconds(times: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy())
