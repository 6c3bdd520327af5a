"""Portable digests of ids: the same on DuckDB, Spark and in Python (md5 of UTF-8, in hexadecimal)."""

import ibis


def row_digest(request_id: ibis.Value, item_id: ibis.Value, prefix: ibis.Value | str = "") -> ibis.Value:
    """md5(prefix + md5(request_id) + item_id): the inner digest's fixed width keeps pairs of ids apart."""
    return (prefix + request_id.hexdigest("md5") + item_id).hexdigest("md5")
