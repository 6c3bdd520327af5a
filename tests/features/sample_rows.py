"""Samples of a toy log."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from components.contracts.schemas import SAMPLES
from components.contracts.tables import write_table
from components.contracts.tools.manifest import write_manifest


def write_samples(root: Path, log: Path) -> pd.DataFrame:
    """Samples of every search candidate of a toy log, in no order; some candidates have a query of their own."""
    requests = pd.read_parquet(log / "requests.parquet").dropna(subset="query")
    samples = pd.read_parquet(log / "candidates.parquet").merge(requests, on="request_id")
    samples = samples.sample(frac=1, random_state=0, ignore_index=True)
    samples.loc[samples.index % 7 == 0, "query"] = "bag"
    samples["sample_id"] = [f"s{i}" for i in range(len(samples))]
    samples["click"] = samples.index % 2
    filled = {"label_source": "native", "query_source": "native", "split": "train"}
    samples = samples.assign(**{c: filled.get(c, 0) for c in SAMPLES.columns if c not in samples})
    write_table(pa.Table.from_pandas(samples[list(SAMPLES.columns)], preserve_index=False), root / "samples.parquet")
    write_manifest(root, "samples", {}, {})
    return samples
