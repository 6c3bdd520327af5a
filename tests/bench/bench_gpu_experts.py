"""How fast a GPU scores pairs with one language-model expert: packed, beside two usual ways of Hugging Face.

    python -m tests.bench.bench_gpu_experts [--shapes gemma3-270m qwen3-0.6b gemma3-1b qwen3-4b] [--kernels]

Weights are random (speed does not depend on them), shapes those of the real models, lengths of pairs log-normal with
median 38 tokens between 12 and 160, token ids random. Hugging Face is timed once after a few batches, the packed ways
are the best of three after one. MFU is 2 x parameters (embeddings left out) x tokens that are no padding, per second,
over the rate of an 8192-cubed bfloat16 product measured in the same run. The 8-bit floats' MFU is over that same rate,
so that it compares. Writes tests/bench/results/gpu-experts.json.
"""

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, Gemma3TextConfig, Qwen3Config

from components.relevance.encoding.packed import PACK_SIZES
from components.relevance.encoding.padded import pad
from components.relevance.model.expert import Expert
from components.relevance.packed.packs import packs
from components.relevance.packed.runner import PackedRunner
from components.relevance.packed.tokens import Tokens
from components.relevance.packed.trunk import PackedExpert

RESULT = Path(__file__).parent / "results" / "gpu-experts.json"
SHAPES = {
    "gemma3-270m": Gemma3TextConfig(
        hidden_size=640, num_hidden_layers=18, num_attention_heads=4, num_key_value_heads=1, head_dim=256,
        intermediate_size=2048, vocab_size=262_144,
    ),
    "qwen3-0.6b": Qwen3Config(
        hidden_size=1024, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
        intermediate_size=3072, vocab_size=151_936,
    ),
    "gemma3-1b": Gemma3TextConfig(
        hidden_size=1152, num_hidden_layers=26, num_attention_heads=4, num_key_value_heads=1, head_dim=256,
        intermediate_size=6912, vocab_size=262_144,
    ),
    "qwen3-4b": Qwen3Config(
        hidden_size=2560, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8, head_dim=128,
        intermediate_size=9728, vocab_size=151_936,
    ),
}  # fmt: skip
ITEMS_A_QUERY = 10


def product_rate() -> float:
    """Floating-point operations per second of a large bfloat16 product of random matrices."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: [a @ b for _ in range(20)], lambda: [a @ b for _ in range(3)])
    return 20 * 2 * 8192**3 / seconds


def timed(work: Callable[[], Any], warm: Callable[[], Any]) -> float:
    """Seconds of work after a warm-up, the device's part included."""
    warm()
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def workload(pairs: int, seed: int = 0) -> list[np.ndarray]:
    """Token ids of pairs."""
    random = np.random.default_rng(seed)
    lengths = np.clip(np.round(np.exp(random.normal(np.log(38), 0.45, pairs))), 12, 160).astype(int)
    return [random.integers(5, 150_000, length) for length in lengths]


class Measured:
    """One shape's ways, in the units of the table."""

    def __init__(self, name: str, parameters: int, rate: float) -> None:
        self.name, self.parameters, self.rate = name, parameters, rate
        self.ways: dict[str, dict[str, float]] = {}

    def add(self, way: str, ids: Sequence[np.ndarray], seconds: float, computed_tokens: int) -> None:
        tokens = sum(map(len, ids))
        self.ways[way] = {
            "pairs_per_second": round(len(ids) / seconds, 1),
            "queries_per_second": round(len(ids) / seconds / ITEMS_A_QUERY, 1),
            "mfu": round(2 * self.parameters * tokens / seconds / self.rate, 3),
            "padding": round(1 - tokens / computed_tokens, 3),
        }
        cells = "  ".join(f"{key} {value:>8}" for key, value in self.ways[way].items())
        print(f"{self.name:12} {way:22} {cells}", flush=True)


def batches(ids: Sequence[np.ndarray], size: int) -> list[Sequence[np.ndarray]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def hugging_face(trunk: Any, ids: Sequence[np.ndarray], size: int, measured: Measured, way: str) -> None:
    """Pairs in the order they come, `size` a call, padded, as a loop over AutoModel would."""
    expert = Expert(trunk, "last")
    padded = [pad(batch, 0) for batch in batches(ids, size)]

    def run(some: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        for tokens_BT, mask_BT in some:
            # Without padding no mask is needed, and Hugging Face is faster without.
            mask = mask_BT.cuda() if size > 1 else None
            hidden = trunk(input_ids=tokens_BT.cuda(), attention_mask=mask).last_hidden_state
            _ = expert.pooling(hidden, mask, None) if size > 1 else hidden[:, -1]

    seconds = timed(lambda: run(padded), lambda: run(padded[:5]))
    measured.add(way, ids, seconds, sum(mask.numel() for _, mask in padded))


def packed(runner: PackedRunner, ids: Sequence[np.ndarray], measured: Measured, way: str) -> torch.Tensor:
    """Ours; tokens are packed before the clock starts, as the others' are padded. The vectors."""
    ready = list(packs(Tokens.of(ids), runner.sizes, None))
    out_nD = torch.empty(len(ids), runner.run(ready[0]).shape[1], device="cuda")

    def run() -> None:
        for pack in ready:
            out_nD[pack.rows[0] : pack.rows[-1] + 1] = runner.run(pack)

    run()
    seconds = min(timed(run, lambda: None) for _ in range(3))
    measured.add(way, ids, seconds, sum(len(pack.ids_T) for pack in ready))
    return out_nD


def kernels(runner: PackedRunner, ids: Sequence[np.ndarray], parameters: int) -> None:
    """Where a pack's time goes."""
    pack = next(packs(Tokens.of(ids), runner.sizes[-1:], None))
    runner.run(pack)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(3):
            runner.run(pack)
        torch.cuda.synchronize()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in events)
    print(f"  a pack: {total / 3000:.2f} ms; parameters {parameters / 1e6:.0f} M")
    for event in events[:12]:
        share = event.self_device_time_total / total
        each = event.self_device_time_total / event.count
        print(f"  {share:6.1%}  {each:7.1f} us x {event.count // 3:4d}  {event.key[:90]}")


def measure(name: str, pairs: int, rate: float, show_kernels: bool) -> dict[str, Any]:
    """Every way for one shape."""
    config = SHAPES[name]
    config.use_cache = False
    torch.manual_seed(0)
    with torch.device("cuda"):
        trunk = AutoModel.from_config(config, dtype=torch.bfloat16).eval()
    parameters = sum(weight.numel() for key, weight in trunk.named_parameters() if "embed_tokens" not in key)
    measured = Measured(name, parameters, rate)
    ids = workload(pairs)
    hugging_face(trunk, ids[:200], 1, measured, "Hugging Face, one pair per call")
    hugging_face(trunk, ids[:4096], 32, measured, "Hugging Face, 32 padded")
    hidden = [trunk(input_ids=torch.from_numpy(own)[None].cuda()).last_hidden_state[0, -1] for own in ids[:64]]
    reference = torch.stack(hidden).float()
    errors = {}
    for precision in ("bfloat16", "float8"):
        started = time.perf_counter()
        runner = PackedRunner(PackedExpert(Expert(trunk, "last"), 256, float8=precision == "float8"), 1, PACK_SIZES)
        torch.cuda.synchronize()
        print(f"  warm-up {time.perf_counter() - started:.1f} s", flush=True)
        out = packed(runner, ids, measured, f"packed, {precision}")
        if show_kernels:
            kernels(runner, ids, parameters)
        # The first is held against Hugging Face, the second against the first.
        errors[precision] = relative_error(out[: len(reference)], reference)
        reference = out
        del runner
    print(
        f"  relative error: bfloat16 against Hugging Face {errors['bfloat16']}, float8 against ours {errors['float8']}"
    )
    del trunk, reference, out
    gc.collect()
    torch.cuda.empty_cache()
    return {"parameters": parameters, "ways": measured.ways, "relative_error": errors}


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm."""
    return float(f"{(found - expected).norm() / expected.norm():.1e}")


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--pairs", type=int, default=8192)
    parser.add_argument("--kernels", action="store_true", help="print where a pack's time goes")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("not measured: no GPU")
        return
    torch.set_grad_enabled(False)
    rate = product_rate()
    print(f"{torch.cuda.get_device_name()}: bfloat16 product {rate / 1e12:.0f} TFLOP/s", flush=True)
    result = {
        "command": " ".join(["python -m tests.bench.bench_gpu_experts", *sys.argv[1:]]),
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cores": os.cpu_count()},
        "simulated": True,
        "product_tflops": round(rate / 1e12, 1),
        "shapes": {},
    }
    for name in arguments.shapes:
        result["shapes"][name] = measure(name, arguments.pairs, rate, arguments.kernels)
    result["product_tflops_after"] = round(product_rate() / 1e12, 1)
    target = Path(os.environ.get("OUT", RESULT.parent)) / RESULT.name
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"product after: {result['product_tflops_after']} TFLOP/s")


if __name__ == "__main__":
    main()
