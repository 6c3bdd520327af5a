"""Configuration of the release stage; defaults are the laptop's."""

from typing import Literal

from pydantic import Field

from components.contracts.config import StageConfig

PACKED_PRECISIONS = ("bfloat16", "float8")  # of experts on packs; they score in float32 without


class ReleaseConfig(StageConfig):
    """How a release is exported, what serving may spend on a request, and how it is checked.

    Attributes:
        parity_tolerance: largest |ONNX - PyTorch| / max(1, largest |output|) of any exported model.
        serving_tolerance: largest difference of a served score from its offline one.
        micro_batch: pairs that an expert scores at once while serving.
        max_computed: most items of one search whose relevance is computed on the spot.
        deadline_ms: time after which no further micro-batch is started for them. Two cores need about 30 ms per pair;
            the default leaves a busy laptop room.
        precision: type of the experts' matrix products on a GPU; where `relevance` scores in bfloat16 or float8, the
            same unless it is said here. These differ from the CPU's answers by thousandths; float8 needs compute
            capability 8.9 or more.
        batch_delay_us: microseconds for which a GPU's dynamic batcher gathers requests. 0 takes those that wait, and
            was the fastest on an H100.
        golden_requests: search requests per market whose offline answers go into the release.
        golden_items: most candidates of each such request.
        golden_pairs: pairs per market whose offline relevance goes into the release.
        seed: number that chooses golden requests and parity cases.
    """

    parity_tolerance: float = Field(default=1e-4, gt=0)
    serving_tolerance: float = Field(default=1e-4, gt=0)
    micro_batch: int = Field(default=16, ge=1)
    max_computed: int = Field(default=32, ge=0)
    deadline_ms: int = Field(default=10_000, ge=0)
    precision: Literal["float32", "bfloat16", "float8"] = "bfloat16"
    batch_delay_us: int = Field(default=0, ge=0)
    golden_requests: int = Field(default=6, ge=1)
    golden_items: int = Field(default=16, ge=2, le=32)
    golden_pairs: int = Field(default=8, ge=1)
    seed: int = 7
