"""Every way of routing and fusing, on real judgments: what the mixture gains, and over what.

    python tests/bench/study_relevance.py --judgments PATH --name NAME [--work DIR] [--seeds 3]

PATH is an AnalytiCup query-category file or its folder. Experts are the laptop profile's, frozen; the dense baseline is
the whole of Gemma-3-270M, with more active parameters than the two experts a query is routed to. Encoding is the long
part (three quarters of an hour on two cores) and is kept in the cache. Writes tests/bench/results/study-NAME.json;
the full report is WORK/model/reports/relevance.html.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from components.contracts.log import configure
from components.contracts.manifest import read_manifest, write_json
from components.marketplace.layouts.analyticup import ingest_analyticup
from components.marketplace.loaders import load_judgments
from components.relevance.config import GEMMA3_270M, MIXTURE, WEIGHTED_AVERAGE, RelevanceConfig, VariantConfig
from components.relevance.encoding import encode
from components.relevance.training import train
from pipelines.profile import load_profile
from pipelines.tables import RESULTS, machine

DENSE = GEMMA3_270M.model_copy(update={"name": "gemma3-270m-dense", "layer": None})
VARIANTS = (
    MIXTURE,
    WEIGHTED_AVERAGE,
    VariantConfig(name="gated_sum", fusion="gated_sum"),
    VariantConfig(name="logit_average", fusion="logit_average"),
    VariantConfig(name="rule", router="rule"),
    VariantConfig(name="pseudo_label", router="pseudo_label"),
    VariantConfig(name="soft", router="soft"),
    VariantConfig(name="k=1", top_k=1),
    VariantConfig(name="k=3", top_k=3),
)


def measure(judgments: Path, name: str, work: Path, seeds: int) -> dict[str, object]:
    """Ingest, encode, cross-validate; the figures of the model's manifest."""
    started = time.perf_counter()
    if not (work / "log").exists():
        ingest_analyticup(judgments, work / "judgments")
        profile = load_profile(str(work / "judgments" / "profile.yaml"))
        load_judgments(work / "judgments", profile.markets, work / "log")
    config = RelevanceConfig(variants=VARIANTS, dense=DENSE, seeds=seeds, bootstrap=1000)
    encode(work / "log", config, work / "encodings", work / "experts")
    train(work / "log", work / "encodings", work / "experts", config, work / "model")
    manifest = read_manifest(work / "model")
    kept = ("relevance", "deltas", "quality", "seeds", "balance", "active_parameters", "head_parameters", "spaces")
    kept += ("routing", "judged")
    return {
        "command": f"python tests/bench/study_relevance.py --judgments PATH --name {name} --seeds {seeds}",
        "machine": machine(),
        "simulated": manifest["simulated"],
        "seconds": round(time.perf_counter() - started),
        "markets": read_manifest(work / "log")["markets"],
        **{key: manifest["metrics"][key] for key in kept},
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judgments", type=Path, required=True)
    parser.add_argument("--name", required=True, help="what the result is called")
    parser.add_argument("--work", type=Path, help="keep log, encodings and model here")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    configure()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments.judgments, arguments.name, arguments.work or Path(folder), arguments.seeds)
    write_json(RESULTS / f"study-{arguments.name}.json", result)
    print(json.dumps({name: result[name] for name in ("deltas", "quality", "active_parameters")}, indent=2))


if __name__ == "__main__":
    main()
