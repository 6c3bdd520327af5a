"""The trained models of a run as ONNX files in a Triton repository, each with its parity.

Shapes: B pairs or n items of a parity check, G trigrams, T tokens, F numeric features, S sequences, L their length.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import components.relevance.model.expert as expert_module
from components.contracts.features import CATEGORICAL, NUMERIC, SEQUENCE_LENGTH, SEQUENCES
from components.contracts.tools.cache import cache_folder
from components.contracts.tools.log import get_logger
from components.contracts.tools.manifest import package_versions, read_json, write_json
from components.ranking.model.serving import load_ranker
from components.release.blobs import link_or_copy
from components.release.config import ReleaseConfig
from components.release.export import EXPORTERS, Parity, ParityError, Signature, check_parity, export_onnx
from components.release.repository import expert_model, onnx_path
from components.relevance.model.expert import load_expert
from components.relevance.model.mixture import load_mixture
from components.relevance.model.spec import ExpertSpec

_logger = get_logger(__name__)

_PARITY = "parity.json"
# Part of every cache key: raise it when the export changes.
_EXPORT = 1
_EXPERT = Signature(("input_ids", "attention_mask"), ("pooled",), ((0, 1), (0, 1)))
# Rows of the parity case whose user has no history.
_WITHOUT_HISTORY = 2
_RANKER = Signature(("numeric", "categorical", "sequences"), ("p_click", "p_purchase"), ((0,), (0,), ()))


def export_mixture(repository: Path, relevance_model: Path, config: ReleaseConfig) -> list[Parity]:
    """Router and fusion; raises ParityError where ONNX and PyTorch differ."""
    mixture = load_mixture(relevance_model)
    spec, random = mixture.spec, torch.Generator().manual_seed(config.seed)

    def queries(size: int) -> tuple[Tensor, ...]:
        shape = (size, spec.router.max_ngrams)
        ngrams_BG = torch.randint(spec.router.ngram_buckets, shape, generator=random)
        used_B1 = torch.randint(1, spec.router.max_ngrams + 1, (size, 1), generator=random)
        ngrams_BG *= torch.arange(spec.router.max_ngrams) < used_B1
        return ngrams_BG, torch.randint(len(spec.markets), (size,), generator=random)

    def vectors(size: int) -> tuple[Tensor, ...]:
        pooled = [torch.randn(size, dim, generator=random) for dim in spec.dims]
        return *pooled, mixture.router(*queries(size))[1], torch.randn(size, generator=random)

    slots = tuple(f"pooled_{slot}" for slot in range(len(spec.dims)))
    router = Signature(("ngrams", "market"), ("experts", "mask"), ((0,), (0,)))
    # The fusion takes its inputs as *args, one dynamic batch each.
    fusion = Signature((*slots, "mask", "lexical"), ("relevance",), ((0,),) * (len(slots) + 2))
    parities = []
    for name, module, signature, case in (
        ("router", mixture.router, router, queries),
        ("fusion", mixture.fusion, fusion, vectors),
    ):
        target = onnx_path(repository, name)
        export_onnx(module, case(3), signature, target)
        parities.append(check_parity(name, module, target, [case(1), case(2), case(500)], config.parity_tolerance))
    return parities


def export_experts(repository: Path, experts: Path, specs: Sequence[ExpertSpec], config: ReleaseConfig) -> list[Parity]:
    """Every expert's trunk and pooling; raises ParityError where ONNX and PyTorch differ.

    An expert's export is kept in the cache under everything that decides its bytes, its measured parity beside it:
    exporting frozen weights again would cost half a minute and change nothing.
    """
    parities = []
    for spec in specs:
        cached = _exported_expert(experts, spec, config)
        target = onnx_path(repository, expert_model(spec.name)).parent
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(cached.glob("model.onnx*")):
            link_or_copy(path, target / path.name)
        measured = read_json(cached / _PARITY)
        parity = Parity(expert_model(spec.name), measured["cases"], measured["max_error"], config.parity_tolerance)
        if not parity.max_error <= parity.tolerance:
            raise ParityError(
                f"{parity.model}: ONNX differs from PyTorch by {parity.max_error:.3g}, tolerance {parity.tolerance:.3g}"
            )
        parities.append(parity)
    return parities


def export_ranker(repository: Path, ranker: Path, config: ReleaseConfig) -> Parity:
    """The ranker's search head; raises ParityError where ONNX and PyTorch differ."""
    module = load_ranker(ranker)
    random = torch.Generator().manual_seed(config.seed)

    def rows(size: int) -> tuple[Tensor, ...]:
        numeric_nF = torch.randn(size, len(NUMERIC), generator=random) * 3
        numeric_nF[torch.rand(numeric_nF.shape, generator=random) < 0.2] = torch.nan
        codes = [torch.randint(feature.buckets, (size,), generator=random) for feature in CATEGORICAL]
        events = [torch.randint(f.buckets, (1, SEQUENCE_LENGTH), generator=random) for f in SEQUENCES]
        sequences_1SL = torch.stack(events, dim=1) * (size != _WITHOUT_HISTORY)
        return numeric_nF, torch.stack(codes, dim=1), sequences_1SL

    target = onnx_path(repository, "ranker")
    export_onnx(module, rows(3), _RANKER, target)
    return check_parity("ranker", module, target, [rows(1), rows(_WITHOUT_HISTORY), rows(500)], config.parity_tolerance)


def _exported_expert(experts: Path, spec: ExpertSpec, config: ReleaseConfig) -> Path:
    """Cache folder with model.onnx (and model.onnx.data where large) and parity.json."""
    identity = {
        "expert": [spec.digest, spec.dim, spec.layer, spec.pooling, spec.separator_id],
        "code": hashlib.sha256(Path(expert_module.__file__).read_bytes()).hexdigest(),
        "versions": package_versions([*EXPORTERS, "transformers"]),
        "export": _EXPORT,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / "onnx" / key[:24]
    if (folder / _PARITY).is_file():
        return folder
    _logger.info("exporting expert %s", spec.name)
    module = load_expert(experts, spec)
    random = torch.Generator().manual_seed(config.seed)
    vocabulary = int(module.trunk.get_input_embeddings().num_embeddings)  # type: ignore[operator]

    def tokens(size: int, length: int) -> tuple[Tensor, ...]:
        length = min(length, spec.max_tokens)
        used_B1 = torch.randint(1, length + 1, (size, 1), generator=random)
        used_B1[0] = length
        mask_BT = (torch.arange(length) < used_B1).long()
        ids_BT = torch.randint(vocabulary, (size, length), generator=random)
        if spec.separator_id is not None:
            ids_BT[:, length // 2] = spec.separator_id
        return torch.where(mask_BT.bool(), ids_BT, spec.pad_id), mask_BT

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".exporting-") as scratch:
        staging = Path(scratch) / "expert"
        export_onnx(module, tokens(3, 11), _EXPERT, staging / "model.onnx")
        cases = [tokens(1, 5), tokens(4, 24), tokens(3, spec.max_tokens)]
        parity = check_parity(expert_model(spec.name), module, staging / "model.onnx", cases, config.parity_tolerance)
        for path in staging.iterdir():
            path.chmod(0o444)  # releases link to these files
        write_json(staging / _PARITY, parity.as_dict())
        try:
            staging.rename(folder)
        except OSError:  # another run exported the same expert meanwhile, and may be linking to it: leave it
            if not (folder / _PARITY).is_file():
                raise
    return folder
