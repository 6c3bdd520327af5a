"""What bfloat16 and 8-bit floats cost on a GPU, with real weights and on real judgments.

    python -m tests.bench.bench_gpu_precision --log LOG --weights FOLDER

LOG is an ingested log with judgments, FOLDER holds gemma3-270m and e5-small as Hugging Face folders. For each expert:
the vectors' relative error against float32, pairs per second, and the AUC of one logistic regression, fitted on float32
vectors outside a fold and applied to the fold's vectors of every precision. Writes
tests/bench/results/gpu-precision.json.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.relevance.config import E5_SMALL, GEMMA3_270M, ExpertConfig, RelevanceConfig
from components.relevance.encode import judged_pairs
from components.relevance.encoding.packed import PackedTextEncoder
from components.relevance.encoding.padded import TextEncoder
from components.relevance.encoding.texts import normal_pairs
from components.relevance.experts.weights import expert_spec, prepare_expert
from components.relevance.judgments.judged import query_folds

RESULT = Path(__file__).parent / "results" / "gpu-precision.json"
# Every block: a rounding error grows with depth.
EXPERTS = (GEMMA3_270M.model_copy(update={"layer": None}), E5_SMALL.model_copy(update={"layer": None}))


def measure(expert: ExpertConfig, log: Path) -> dict[str, dict[str, float]]:
    """Error, speed and AUC a precision."""
    config = RelevanceConfig()
    judged = judged_pairs(log, config)
    folder, spec = prepare_expert(expert), expert_spec(expert)
    pairs = normal_pairs(judged["market"], judged["query"], judged["title"])
    label = judged["label"].to_numpy()
    test = query_folds(judged["query"], config.folds, config.seed) == 0
    found: dict[str, dict[str, float]] = {}
    exact: np.ndarray | None = None
    for precision in ("float32", "bfloat16", "float8"):
        encoder: Any = (
            TextEncoder(folder, spec, 16_384) if precision == "float32" else PackedTextEncoder(folder, spec, precision)
        )
        encoder.encode_pairs(pairs[:4096])
        started = time.perf_counter()
        vectors_nD = encoder.encode_pairs(pairs)
        seconds = time.perf_counter() - started
        if exact is None:
            exact = vectors_nD
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200))
            probe.fit(exact[~test], label[~test])
        found[precision] = {
            "relative_error": float(f"{np.linalg.norm(vectors_nD - exact) / np.linalg.norm(exact):.1e}"),
            "auc": round(float(roc_auc_score(label[test], probe.decision_function(vectors_nD[test]))), 4),
            "pairs_per_second": round(len(pairs) / seconds),
        }
        print(expert.name, precision, found[precision], flush=True)
        del encoder
    return found


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available() or not arguments.log or not arguments.weights:
        print("not measured: needs a GPU, --log and --weights")
        return
    experts = [
        expert.model_copy(update={"source": str(arguments.weights / expert.source.removeprefix("package:"))})
        for expert in EXPERTS
    ]
    result = {
        "command": "python -m tests.bench.bench_gpu_precision --log LOG --weights FOLDER",
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cores": os.cpu_count()},
        "simulated": False,
        "experts": {expert.name: measure(expert, arguments.log) for expert in experts},
    }
    target = Path(os.environ.get("OUT", RESULT.parent)) / RESULT.name
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
