"""The usual alternative, to measure against: a KServe Python server with the same models in its own process, no Triton.

    python -m tests.bench.kserve_alone --release DIR --state DIR --http_port PORT

The same checks, features, ranker and experts (ONNX Runtime, all cores for experts), called from a thread.
"""

import argparse
import asyncio
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from kserve import ModelServer, model_server

from components.contracts.blend import Blend
from components.contracts.features import RELEVANCE_COLUMN
from components.release import onnx_scoring
from components.release.export import open_session
from components.release.repository import VERSION, onnx_path
from components.relevance.encoding.texts import CutCounts
from serving.observe.exchange import Exchange, opened
from serving.release import open_release
from serving.transformer.experts import Experts
from serving.transformer.lane import Lane
from serving.transformer.online_store import build_online_store
from serving.transformer.payload import v2_request
from serving.transformer.search import Search
from serving.transformer.validation import RawInput


class InProcess:
    """Stands where Triton's client stands."""

    def __init__(self, release: Path) -> None:
        repository = release / "triton"
        names = [path.name for path in repository.iterdir() if (path / VERSION / "model.onnx").is_file()]
        threads = {name: (os.cpu_count() or 1) if name.startswith("expert_") else 1 for name in names}
        self._sessions = {name: open_session(onnx_path(repository, name), threads[name]) for name in names}
        self._mixture, _ = onnx_scoring.served_mixture(release, self.run, CutCounts())
        self._blend = Blend.load(release / "blend.json")

    def run(self, model: str, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """One session."""
        return list(self._sessions[model].run(outputs, dict(feeds)))

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray], until: float = math.inf) -> dict[str, Any]:
        """As `serving.transformer.triton_client.Triton`."""
        return await asyncio.to_thread(self._relevance if model == "relevance" else self._search, inputs)

    def _relevance(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        texts = ([text.decode() for text in inputs[name].ravel()] for name in ("market", "query", "title"))
        relevance, experts = self._mixture.score(*texts)
        return {"relevance": relevance, "experts": experts}

    def _search(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        features = {name: inputs[name] for name in ("numeric", "categorical", "sequences")}
        p_click, p_purchase = self.run("ranker", features, ["p_click", "p_purchase"])
        relevance = features["numeric"][:, RELEVANCE_COLUMN]
        prior = self._blend.relevance_prior[inputs["market"][0].decode()]
        shown = np.where(np.isnan(relevance), np.float32(prior), relevance).astype(np.float32)
        score = self._blend.score(shown, p_click, p_purchase)
        return {"score": score, "relevance": shown, "p_click": p_click, "p_purchase": p_purchase}


class Plain(Search):
    """`search`, its requests and responses as KServe's own endpoints make them."""

    async def predict(self, payload: Any, headers: Any = None) -> Any:
        """Translate in, and let KServe translate out."""
        inputs = [RawInput(each.name, each.datatype, each.shape, list(each.data)) for each in payload.inputs]
        with opened(Exchange("rest", "search")):
            response = await super().predict(v2_request("search", payload.id or "", inputs, [], {}), headers)
        for output in response.outputs:
            values = output.data
            if output.datatype == "BYTES":
                output.data = [value.decode() if isinstance(value, bytes) else value for value in values]
            else:
                output.set_data_from_numpy(np.asarray(values), binary_data=False)
        response.id = payload.id or "none"
        return response


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    args = parser.parse_args()
    release = open_release(args.release)
    build_online_store(release.features, args.state, None, release.name)
    inside = InProcess(args.release)
    experts = Experts(inside, release.limits.micro_batch, Lane(1, 8))  # type: ignore[arg-type]
    models = [Plain(release, args.state, inside, experts)]  # type: ignore[arg-type]
    ModelServer(http_port=args.http_port, enable_grpc=False).start(models)


if __name__ == "__main__":
    main()
