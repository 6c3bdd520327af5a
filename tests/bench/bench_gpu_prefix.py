"""What it is worth to compute a query's prefix once: packs with and without, for searches of 10 and of 50 items.

    python -m tests.bench.bench_gpu_prefix [--shapes gemma3-270m qwen3-0.6b gemma3-1b] [--pairs 8000]

Weights and token ids are random, shapes those of the real models. Lengths are drawn as Gemma's tokenizer cuts real
texts in the usual template (`market: ..`, `query: ..`, `item: ..`): a prefix of 9 tokens and the query's, median 6;
a title's, median 23. Tokens are packed before the clock starts; best of five after one. Writes
tests/bench/results/gpu-prefix.json.
"""

import argparse
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel

from components.relevance.encoding.packed import PACK_SIZES
from components.relevance.model.expert import Expert
from components.relevance.packed.packs import Pack
from components.relevance.packed.runner import PackedRunner
from components.relevance.packed.tokens import Tokens
from components.relevance.packed.trunk import PackedExpert
from tests.bench.bench_gpu_experts import SHAPES, relative_error, timed

RESULT = Path(__file__).parent / "results" / "gpu-prefix.json"
ITEMS = (10, 50)
_TEMPLATE_TOKENS, _QUERY_TOKENS, _TITLE_TOKENS = 9, 6, 23


def searches(queries: int, items: int, seed: int = 0) -> Tokens:
    """Pairs of searches with so many items each."""
    random = np.random.default_rng(seed)

    def lengths(median: int, count: int, most: int) -> np.ndarray:
        return np.clip(np.round(np.exp(random.normal(np.log(median), 0.45, count))), 2, most).astype(int)

    ids: list[np.ndarray] = []
    for prefix in _TEMPLATE_TOKENS + lengths(_QUERY_TOKENS, queries, 60):
        shared = random.integers(5, 150_000, prefix)
        ids += [np.concatenate([shared, random.integers(5, 150_000, n)]) for n in lengths(_TITLE_TOKENS, items, 120)]
    return Tokens.of([own.tolist() for own in ids], np.repeat(np.arange(queries), items))


def rate(runner: PackedRunner, ready: list[Pack], pairs: int) -> tuple[float, torch.Tensor]:
    """(pairs a second, vectors)."""
    out_nD = torch.empty(pairs, runner.run(ready[0]).shape[1], device="cuda")

    def run() -> None:
        for pack in ready:
            out_nD[pack.rows[0] : pack.rows[-1] + 1] = runner.run(pack)

    run()
    return pairs / min(timed(run, lambda: None) for _ in range(5)), out_nD


def measure(name: str, pairs: int) -> dict[str, Any]:
    """Both ways for one shape."""
    config = SHAPES[name]
    config.use_cache = False
    torch.manual_seed(0)
    with torch.device("cuda"):
        trunk = AutoModel.from_config(config, dtype=torch.bfloat16).eval()
    runner = PackedRunner(PackedExpert(Expert(trunk, "last"), 256), 1, PACK_SIZES)
    found = {}
    for items in ITEMS:
        tokens = searches(pairs // items, items)
        whole = Tokens(tokens.ids_T, tokens.lengths_R)
        each, expected = rate(runner, runner.packs(whole, None), len(tokens.lengths_R))
        once, vectors = rate(runner, runner.packs(tokens, None), len(tokens.lengths_R))
        found[str(items)] = {
            "pairs_per_second": {"prefix of every pair": round(each), "prefix once": round(once)},
            "ratio": round(once / each, 3),
            "computed_tokens": {
                "prefix of every pair": len(tokens.ids_T),
                "prefix once": sum(int(pack.parts_NS.sum()) for pack in runner.packs(tokens, None)),
            },
            "relative_error": relative_error(vectors, expected),
        }
        print(name, items, json.dumps(found[str(items)]), flush=True)
    del runner, trunk
    gc.collect()
    torch.cuda.empty_cache()
    return found


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["gemma3-270m", "qwen3-0.6b", "gemma3-1b"], choices=list(SHAPES))
    parser.add_argument("--pairs", type=int, default=8000)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("not measured: no GPU")
        return
    torch.set_grad_enabled(False)
    result = {
        "command": " ".join(["python -m tests.bench.bench_gpu_prefix", *sys.argv[1:]]),
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cores": os.cpu_count()},
        "simulated": True,
        "shapes": {name: measure(name, arguments.pairs) for name in arguments.shapes},
    }
    target = Path(os.environ.get("OUT", RESULT.parent)) / RESULT.name
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
