"""Batch scoring spread over machines: a folder of Parquet files, each scored by whoever is given its name.

A shard that was scored before is left as it is, so a run that was cut off goes on where it was.
"""

import tempfile
from pathlib import Path

from components.contracts.errors import BadInput
from components.contracts.locations import files_of, is_file, local_copy, put
from components.contracts.tools.log import get_logger
from components.relevance.encoding.packed_expert import Precision
from components.relevance.scoring.files import score_file
from components.relevance.scoring.packed import SHARD_ROWS, PackedScorer

_logger = get_logger(__name__)


def shard_names(pairs: str, out: str) -> list[str]:
    """Names of the Parquet files at `pairs`; BadInput where there is none, or the scores would take their place."""
    if pairs.rstrip("/") == out.rstrip("/"):
        raise BadInput(f"out: {out} is where the pairs lie; name another folder")
    return files_of(pairs, ".parquet")


def score_shard(shard: str, pairs: str, model: str, experts: str, out: str, precision: Precision) -> int:
    """Score one file of pairs with a relevance model, and put it under its name at `out`.

    Args:
        shard: the file's name.
        pairs: folder that holds it: columns market, query, title; others are kept.
        model, experts: folders of the relevance model and of the experts it was trained with.
        out: folder for the file with `relevance` and `experts` appended.
        precision: of the experts' matrix products, on a GPU.

    Returns:
        The number of rows that were scored: 0 where it was scored before.

    Raises:
        BadInput: a place that can't be read or written, a file that breaks the schema, experts of another model.
    """
    target = f"{out.rstrip('/')}/{shard}"
    if is_file(target):
        _logger.info("%s was scored before", target)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        names = {"model": model, "experts": experts, "pairs": f"{pairs.rstrip('/')}/{shard}"}
        copies = {name: local_copy(location, here / name) for name, location in names.items()}
        scored = here / "scored.parquet"
        scorer = PackedScorer(copies["model"], copies["experts"], precision)
        rows = score_file(scorer, copies["pairs"], scored, SHARD_ROWS)
        put(scored, target)
    return rows
