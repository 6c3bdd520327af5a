"""Why concatenation beats the projected average: the average is changed step by step into what concatenation does.

    python -m tests.bench.study_relevance ... --work WORK          makes WORK: encodings, experts
    python -m tests.bench.study_fusion --log LOG --work WORK --name NAME [--experts NAME ...]

Three things tell `model.fusion.WeightedAverage` from `ConcatFusion`, beside the width of the space that both heads
project the chosen experts' vectors into and add them up in (the first hidden layer is that space for a concatenation):

weights   the average weighs experts by the router's softmax; a concatenation's slots count alike
dropout   a concatenation drops dimensions of each expert's vector, the average those of their mean
linear    a concatenation's head has a linear part that reads each expert's vector, the average's reads their mean

Each is taken over alone, then one after another, on the folds, seeds and rows of the study. Writes
tests/bench/results/fusion-NAME.json.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from components.contracts.tools.log import configure, track
from components.contracts.tools.manifest import read_manifest, write_json
from components.contracts.tools.resampling import Bootstrap, auc, percentile_interval
from components.relevance.config import MIXTURE, RelevanceConfig
from components.relevance.fitting.fit import fit, predict
from components.relevance.fitting.networks import variant_spec
from components.relevance.judgments.judged import Judged, load_judged, query_folds, training_rows
from components.relevance.model.fusion import Combiner, ConcatFusion, GatedSum, Head, WeightedAverage, fused_parameters
from components.relevance.model.routed import Routed
from components.relevance.model.router import new_router
from components.relevance.model.spec import MixtureSpec, load_experts
from components.relevance.train import mixture_spec
from tests.bench.measured import RESULTS, machine


@dataclass(frozen=True)
class Step:
    """What an average takes over from the concatenation."""

    weights: bool = False
    dropout: bool = False
    linear: bool = False


class Average(WeightedAverage):
    """z = sum_i w_i P_i norm(h_i), with a concatenation's weights, dropout or linear part."""

    def __init__(self, spec: MixtureSpec, step: Step) -> None:
        super().__init__(spec)
        assert isinstance(self.head, Head)
        self.averages = not step.weights
        self.drop = nn.Dropout(spec.fusion.input_dropout if step.dropout else 0.0)
        if step.dropout:
            self.head.input_dropout = nn.Dropout(0.0)
        self.linear = nn.ModuleList(nn.Linear(dim, 1, bias=False) for dim in spec.dims) if step.linear else None
        for part in self.linear or ():
            nn.init.zeros_(part.weight)

    def logits(self, vectors: tuple[Tensor, ...], mask_BN: Tensor) -> Tensor:
        """Uncalibrated logits (B,)."""
        read = [self.drop(h_BD) for h_BD in self._normed(vectors)]
        projected = torch.stack([own(h_BD) for own, h_BD in zip(self.projections, read, strict=True)], dim=1)
        weights_BN = mask_BN / mask_BN.sum(dim=1, keepdim=True)
        logits_B: Tensor = self.head((weights_BN.unsqueeze(-1) * projected).sum(dim=1))
        if self.linear is not None:
            each = torch.cat([own(h_BD) for own, h_BD in zip(self.linear, read, strict=True)], dim=1)
            logits_B = logits_B + (mask_BN * each).sum(dim=1)
        return logits_B


STEPS = {
    "average": Step(),
    "average, weights": Step(weights=True),
    "average, dropout": Step(dropout=True),
    "average, linear": Step(linear=True),
    "average, weights and dropout": Step(weights=True, dropout=True),
    "average, all three": Step(weights=True, dropout=True, linear=True),
}
CONCAT, GATED = "concatenation", "gated sum"


def heads(spec: MixtureSpec) -> dict[str, Combiner]:
    """A fresh head of each kind."""
    return {CONCAT: ConcatFusion(spec), GATED: GatedSum(spec), **{name: Average(spec, s) for name, s in STEPS.items()}}


def out_of_fold(data: Judged, spec: MixtureSpec, config: RelevanceConfig) -> dict[str, np.ndarray]:
    """Logits of every head, float64 (seeds, n), each behind a router of its own as the study's mixture is."""
    fold_n = query_folds(data.frame["query"], config.folds, config.seed)
    own = variant_spec(MIXTURE, spec)
    found = {name: np.empty((config.seeds, len(data))) for name in heads(own)}
    rounds = [(number, fold) for fold in range(config.folds) for number in range(config.seeds)]
    for number, fold in track(rounds, "fit heads", len(rounds)):
        seen = data.of_fold(fold)
        train, valid = training_rows(data.frame["query"], config, fold)
        for name, logits_Sn in found.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed + number * 10_000 + fold)
                router = new_router(own)
                network = Routed(router, heads(own)[name])
            fit(network, seen, train, valid, config, config.seed + number * 10_000 + fold)
            test = np.flatnonzero(fold_n == fold)
            logits_Sn[number, test] = predict(network, seen, test)
    return found


def measure(log: Path, work: Path, names: list[str] | None, seeds: int) -> dict[str, object]:
    """Pooled AUC of every head, and what concatenation gains over it."""
    encoded = read_manifest(work / "encodings")["config"]
    config = RelevanceConfig(**encoded).model_copy(update={"dense": None, "seeds": seeds})
    specs = tuple(spec for spec in load_experts(work / "experts") if not names or spec.name in names)
    data = load_judged(log, work / "encodings", specs, config)
    spec = mixture_spec(data, specs, config)
    label = data.label.numpy().astype(np.int64)
    bootstrap = Bootstrap.draw(pd.factorize(data.frame["query"])[0], config.bootstrap, config.seed)
    logits = out_of_fold(data, spec, config)
    pooled = {name: float(np.mean([auc(label, own) for own in logits_Sn])) for name, logits_Sn in logits.items()}
    drawn = {
        name: np.mean([bootstrap.aucs(label, own) for own in logits_Sn], axis=0) for name, logits_Sn in logits.items()
    }
    return {
        "experts": [one.name for one in specs],
        "seeds": seeds,
        "heads": {
            name: {
                "parameters": fused_parameters(heads(spec)[name]),
                "pooled": pooled[name],
                "concatenation_minus": pooled[CONCAT] - pooled[name],
                "interval": percentile_interval(drawn[CONCAT] - drawn[name]),
            }
            for name in logits
        },
    }


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, required=True, help="the log that WORK was made of")
    parser.add_argument("--work", type=Path, required=True, help="what study_relevance made")
    parser.add_argument("--name", required=True, help="what the result is called")
    parser.add_argument("--experts", nargs="+", help="of WORK [default: all]")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    configure()
    chosen = f" --experts {' '.join(arguments.experts)}" if arguments.experts else ""
    result = {
        "command": f"python -m tests.bench.study_fusion --log LOG --work WORK --name {arguments.name}{chosen}",
        "machine": machine(),
        "simulated": read_manifest(arguments.log)["simulated"],
        **measure(arguments.log, arguments.work, arguments.experts, arguments.seeds),
    }
    write_json(RESULTS / f"fusion-{arguments.name}.json", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
