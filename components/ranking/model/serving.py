"""The ranker as it is served: search head only, probabilities out; saving and loading model directories.

Shape suffixes: n rows (a request's candidates), F numeric features, C categorical features, S sequences, L length.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.contracts.errors import BadInput
from components.contracts.features import CATEGORICAL, FEATURES, VERSION
from components.contracts.markets import DOMAIN_CODES
from components.contracts.tools.manifest import read_json, write_json
from components.ranking.model.rankers import DOMAIN_COLUMN, Ranker, build_ranker
from components.ranking.model.spec import RankerSpec

WEIGHTS, SPEC = "ranker.safetensors", "ranker.json"


class ServingRanker(nn.Module):
    """The search head: (numeric f32 (n, F), categorical i64 (n, C), sequences i64 (n, S, L)) -> (p_click, p_purchase).

    Sequences that all rows share, as those of one search do, may come once: (1, S, L); so they come when it is served.
    Both probabilities are f32 (n,) and unconditional. Rows are ranked as search whatever their `domain_code` says.
    """

    is_domain: Tensor

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self.ranker = ranker
        self.register_buffer("is_domain", torch.arange(len(CATEGORICAL)) == DOMAIN_COLUMN, persistent=False)

    def forward(self, numeric_nF: Tensor, categorical_nC: Tensor, sequences_nSL: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of click and purchase, each (n,)."""
        searched_nC = categorical_nC.masked_fill(self.is_domain, DOMAIN_CODES["search"])
        probabilities_n2 = self.ranker(numeric_nF, searched_nC, sequences_nSL).sigmoid()
        return probabilities_n2[:, 0], probabilities_n2[:, 1]


def save_ranker(ranker: Ranker, model_dir: Path) -> None:
    """Write weights, spec and the feature list that the weights expect into `model_dir`."""
    model_dir.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().cpu() for name, tensor in ranker.state_dict().items()}, model_dir / WEIGHTS)
    write_json(model_dir / SPEC, {"spec": asdict(ranker.spec), "feature_version": VERSION, "features": _layout()})


def load_ranker(model_dir: Path) -> ServingRanker:
    """The released ranker in evaluation mode, on the CPU.

    Raises:
        BadInput: the files are absent or unreadable, or were trained on another feature list.
    """
    content = read_json(model_dir / SPEC)
    if content.get("features") != _layout():
        raise BadInput(f"{model_dir / SPEC}: trained on features {content.get('feature_version')}, this is {VERSION}")
    ranker = build_ranker(RankerSpec(**content["spec"]))
    try:
        ranker.load_state_dict(load_file(model_dir / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{model_dir / WEIGHTS}: not this ranker's weights ({str(error).splitlines()[0]})") from error
    return ServingRanker(ranker).eval()


def _layout() -> list[list[str | int]]:
    return json.loads(json.dumps([[f.name, f.group, f.kind, f.buckets, f.table] for f in FEATURES]))  # type: ignore[no-any-return]
