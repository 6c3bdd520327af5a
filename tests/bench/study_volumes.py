"""What each step of ES3 adds on each named world, beside the volumes that the paper reports.

    python -m tests.bench.study_volumes [--scale 1]

Simulates every world, makes its samples by the laptop's label rules and by those of the paper, and writes
tests/bench/results/volumes.json. Relevance is a stand-in, shared character trigrams, so that no model is needed: it
enters the paper's relevance threshold, the choice of a pseudo request's query and negatives, and the leak.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from components.contracts.tools.log import configure
from components.contracts.tools.manifest import read_json, write_json
from components.contracts.tools.resampling import auc
from components.marketplace.simulator.simulate import simulate
from components.samples.build import build_samples
from pipelines.profile import load_profile
from tests.bench.measured import RESULTS, machine
from tests.samples.stand_in_scores import stand_in_relevance, write_stand_ins

WORLDS = ("laptop", "entire-space", "entire-space-aware", "entire-space-shift")
# Name of the rules -> the profile whose section samples has them.
RULES = {"ours": "laptop", "the paper's": "paper-es3"}
KEPT = ("steps", "coverage", "leak")


def volumes(world: str, scale: float) -> dict[str, Any]:
    """Rules -> the figures of the samples that they make of one world."""
    profile, made = load_profile(world), {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        simulate(profile.marketplace.scaled(scale), profile.simulated_as_of, root / "log")
        scores, encodings = write_stand_ins(root / "log", root)
        for rules, name in RULES.items():
            config, out = load_profile(name).samples, root / name
            build_samples(root / "log", scores, encodings, config, profile.simulated_as_of, out)
            found = read_json(out / "volumes.json")
            made[rules] = {key: found[key] for key in KEPT} | {"relevance": told_by_relevance(out, root / "log")}
            paper = found["paper"]
    return {"rules": made, "paper": paper}


def told_by_relevance(samples: Path, log: Path) -> dict[str, float | None]:
    """AUC of relevance alone against clicks of training rows, once every pair has a score as the second pass gives one.

    `pseudo` rows with their entire-space labels, `native` ones, which search showed, with theirs.
    """
    rows = pq.read_table(samples / "samples.parquet", filters=[("split", "=", "train")]).to_pandas()
    titles = (
        pq.read_table(log / "items.parquet", columns=["item_id", "title"]).to_pandas().set_index("item_id")["title"]
    )
    parts = {
        "pseudo": rows[rows["domain"] != "search"].assign(label=lambda part: part["click"]),
        "native": rows[rows["exposed"] == 1].assign(label=lambda part: part["native_click"]),
    }
    told = {}
    for name, part in parts.items():
        relevance = stand_in_relevance(part["query"], part["item_id"].map(titles))
        value = auc(part["label"].to_numpy(dtype=np.float64), relevance)
        told[name] = None if value is None else round(value, 4)
    return told


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="times the users and requests of each world")
    scale = parser.parse_args().scale
    configure()
    found = {world: volumes(world, scale) for world in WORLDS}
    result = {
        "command": f"python -m tests.bench.study_volumes --scale {scale:g}",
        "machine": machine(),
        "simulated": True,
        "paper": found[WORLDS[0]]["paper"],
        "worlds": {world: one["rules"] for world, one in found.items()},
    }
    write_json(RESULTS / "volumes.json", result)


if __name__ == "__main__":
    main()
